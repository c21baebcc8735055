/* The last script of the page: what the others define begins to run. */

for (const [name, {label}] of Object.entries(zoo.colourings)) find("colouring").append(make("option", {value: name, textContent: label}));
find("colouring").addEventListener("change", drawMap);
find("filter").addEventListener("input", drawRuns);
find("step").max = zoo.steps.length - 1;
find("step").addEventListener("input", () => {
  const own = checkpointsOf[runOf[chosen.checkpoint]];
  choose(own[Math.min(Number(find("step").value), own.length - 1)]);
});
choosable(find("map"), () => mapPlaces);
choosable(find("curves"), () => curvePlaces);
const show = cells[zoo.spec.cell] ? family.panel(find("panel"), zoo) : () => {
  find("panel").textContent = `The cell ${zoo.spec.cell} has no program for browsers.`;
};
choose(zoo.start);
