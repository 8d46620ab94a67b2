"""What pulls cost: sacnb beside others and beside the limit, measured in one run and written into docs/performance.md.

``make bench`` runs it. Each measurement has a fresh process; the sandbox has one of its own, with its pages at hand.
"""
