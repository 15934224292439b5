// Runs before the first paint: apply the stored theme, else the system theme.
(() => {
  const chosen = localStorage.getItem("waybill-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
