"""Judges that share no code with sacnb: grammars, parsers, evaluators and a server of others. See docs/judges.md."""
