// Before anything is painted: light or dark as it was chosen here before, otherwise as the system has it.
(() => {
  const chosen = localStorage.getItem("waybill-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
