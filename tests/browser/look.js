// What is wrong with an open page: wider than its window, or text without contrast. Gives one line for each fault.
() => {
  const faults = [];
  const known = (text) => {
    const numbers = text.match(/[\d.]+/g).map(Number);
    if (!/^rgba?\(/.test(text)) throw new Error(`no colour: ${text}`);
    return [...numbers.slice(0, 3), numbers.length > 3 ? numbers[3] : 1];
  };
  const over = (top, below) => below.map((value, index) => value + (top[index] - value) * top[3]).slice(0, 3);
  // What is painted behind an element's text, from the window's own colour up.
  const behind = (element, x, y) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) layers.push(known(getComputedStyle(one).backgroundColor));
    let colour = [255, 255, 255];
    for (const layer of layers.reverse()) colour = over(layer, colour);
    if (!element.closest("svg")) return colour;
    for (const shape of document.elementsFromPoint(x, y).reverse()) {
      if (!(shape instanceof SVGGeometryElement)) continue;
      const { fill, fillOpacity, opacity } = getComputedStyle(shape);
      if (fill !== "none") colour = over([...known(fill).slice(0, 3), known(fill)[3] * fillOpacity * opacity], colour);
    }
    return colour;
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((value) => value / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  for (const one of document.querySelectorAll("details")) one.open = true;
  const { scrollWidth } = document.documentElement;
  if (scrollWidth > innerWidth) faults.push(`${scrollWidth} pixels wide in a window of ${innerWidth}`);
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let texts = 0;
  while (walker.nextNode()) {
    const [text, element] = [walker.currentNode.data.trim(), walker.currentNode.parentElement];
    if (!text || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    texts += 1;
    if (element.closest("svg")) element.scrollIntoView({ block: "center", inline: "center" });
    const box = element.getBoundingClientRect();
    const background = behind(element, box.x + box.width / 2, box.y + box.height / 2);
    const style = getComputedStyle(element);
    const colour = over(known(element.closest("svg") ? style.fill : style.color), background);
    const [low, high] = [luminance(colour), luminance(background)].sort((a, b) => a - b);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < 4.5) faults.push(`contrast ${contrast.toFixed(2)}: ${text.slice(0, 40)} (${colour} on ${background})`);
  }
  if (!texts) faults.push("no text");
  return faults;
}
