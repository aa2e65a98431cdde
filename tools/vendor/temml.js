// TeX to MathML, which browsers draw themselves. What the page does with it is in static/maths.js.
export { default as temml } from "temml";
