// What JupyterLab loads of the panel: a container with one module, as module federation has it, written by hand so that
// nobody needs Node. Whatever fails in here or in the panel is a line on the console: JupyterLab itself always starts.
(() => {
  const place = document.currentScript ? document.currentScript.src : "";
  const warn = (error) => console.warn("The side panel of sacnb is not shown:", error);
  // JupyterLab shows nothing before its plugins are active: a file that does not arrive must not hold it up for longer.
  const PATIENCE_MS = 5000;
  let scope = {};

  // The packages are JupyterLab's own; nothing is bundled. Missing ones leave something out.
  const shared = async (name) => {
    const [entry] = Object.values(scope[name] || {});
    return entry ? (await entry.get())() : {};
  };

  const makePlugin = async () => {
    const [widgets, services, coreutils, notebook, apputils, application] = await Promise.all(
      ["@lumino/widgets", "@jupyterlab/services", "@jupyterlab/coreutils", "@jupyterlab/notebook", "@jupyterlab/apputils",
       "@jupyterlab/application"].map(shared),
    );
    const tokens = {
      tracker: notebook.INotebookTracker,
      palette: apputils.ICommandPalette,
      restorer: application.ILayoutRestorer,
    };
    const names = Object.keys(tokens).filter((name) => tokens[name]);
    return {
      id: "sacnb:panel",
      description: "Models of SAP Analytics Cloud in the side bar.",
      autoStart: true,
      optional: names.map((name) => tokens[name]),
      activate: (app, ...found) => {
        const show = async () => {
          const given = Object.fromEntries(names.map((name, number) => [name, found[number]]));
          const {activate} = await import(new URL("panel.js", place).href);
          activate(app, {widgets, services, coreutils, notebook, ...given, place});
        };
        return Promise.race([show().catch(warn), new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
      },
    };
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB.sacnb = {
    init: (given) => {
      scope = given || {};
    },
    get: async () => {
      // JupyterLab takes a module for one of ES only if it owns __esModule.
      const module = {__esModule: true, default: []};
      try {
        module.default.push(await makePlugin());
      } catch (error) {
        warn(error);
      }
      return () => module;
    },
  };
})();
