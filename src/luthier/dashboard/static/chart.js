/** The chart of a job: curves over steps, with checkpoints, zoom, hover, smoothing and logarithmic axes. */

import { html, useEffect, useRef } from "./preact.js";
import { t } from "./i18n.js";

/**
 * A curve: columns of equal length. `minimum` and `maximum` span the steps that a point stands for.
 * @typedef {{ label: string, color: string, dash?: number[], points?: boolean, step: number[], value: number[],
 *   minimum: number[], maximum: number[] }} Curve
 */

const HEIGHT = 320;
const SETTLE_MS = 200;  // after the last movement of a zoom

/** Exponential moving average; `factor` 0 leaves the values as they are. @param {number[]} values @param {number} factor */
export function smooth(values, factor) {
  let sum = 0, weight = 0;
  return values.map((value) => {
    sum = sum * factor + value * (1 - factor);
    weight = weight * factor + (1 - factor);
    return sum / weight;
  });
}

/** All curves on one sorted axis of steps, with gaps where a curve has no value. @param {Curve[]} curves @param {number} factor */
function aligned(curves, factor) {
  const steps = [...new Set(curves.flatMap((curve) => curve.step))].sort((one, other) => one - other);
  const place = new Map(steps.map((step, index) => [step, index]));
  const spread = (/** @type {number[]} */ at, /** @type {number[]} */ values) => {
    const column = new Array(steps.length).fill(null);
    at.forEach((step, index) => { column[/** @type {number} */ (place.get(step))] = values[index]; });
    return column;
  };
  const columns = curves.flatMap((curve) => [
    spread(curve.step, curve.points ? curve.value : smooth(curve.value, factor)),
    spread(curve.step, curve.minimum), spread(curve.step, curve.maximum),
  ]);
  return [steps, ...columns];
}

/**
 * @param {{ curves: Curve[], smoothing: number, logX: boolean, logY: boolean, marks: { step: number, best: boolean }[],
 *   zoomKey: number, range: [number, number] | null, onRange: (range: [number, number] | null) => void }} props `zoomKey`:
 *   another number shows the whole run again; `range`: the steps that are shown, null for all; `onRange`: the person zoomed
 */
export function Chart({ curves, smoothing, logX, logY, marks, zoomKey, range, onRange }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null));
  const plot = useRef(/** @type {any} */ (null));
  const drawn = useRef(marks);
  drawn.current = marks;
  const told = useRef(onRange);
  told.current = onRange;
  const shape = curves.map((curve) => curve.label + curve.color).join() + logX + logY + document.documentElement.dataset.theme;
  const data = aligned(curves, smoothing);

  useEffect(() => {
    const element = /** @type {HTMLDivElement} */ (box.current);
    const style = getComputedStyle(element);
    const text = style.getPropertyValue("--muted"), grid = style.getPropertyValue("--line"), accent = style.getPropertyValue("--accent");
    const axis = { stroke: text, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui" };
    const series = curves.flatMap((curve) => [
      { label: curve.label, stroke: curve.color, width: 2, dash: curve.dash, spanGaps: true, points: { show: Boolean(curve.points), size: 7, fill: curve.color } },
      { label: `${curve.label} ↓`, stroke: "transparent", points: { show: false }, spanGaps: true },
      { label: `${curve.label} ↑`, stroke: "transparent", points: { show: false }, spanGaps: true },
    ]);
    /** @type {number | undefined} */
    let timer;
    const settle = () => {
      clearTimeout(timer);
      timer = setTimeout(() => plot.current && told.current(zoomOf(plot.current)), SETTLE_MS);
    };
    const bands = curves.map((curve, index) => ({ series: [index * 3 + 3, index * 3 + 2], fill: `${curve.color}22` }));
    // @ts-ignore: uPlot is a script of its own
    plot.current = new uPlot({
      width: element.clientWidth, height: HEIGHT, series: [{ label: t("step") }, ...series], bands,
      axes: [axis, { ...axis, size: 56 }],
      scales: { x: { time: false, distr: logX ? 3 : 1 }, y: { distr: logY ? 3 : 1 } },
      cursor: { drag: { x: true, y: false } },
      legend: { live: true },
      hooks: { draw: [(/** @type {any} */ chart) => drawMarks(chart, drawn.current, accent, text)] },
    }, data, element);
    // Only what the person does is told: a scale that this code sets must not come back as a wish.
    const over = plot.current.over;
    over.addEventListener("mousedown", () => document.addEventListener("mouseup", settle, { once: true }));
    over.addEventListener("dblclick", settle);
    const observer = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
    observer.observe(element);
    return () => { clearTimeout(timer); observer.disconnect(); plot.current?.destroy(); plot.current = null; };
  }, [shape, zoomKey]);

  const signature = `${data[0].length}/${data[0].at(-1)}/${smoothing}/${marks.length}/${range?.join()}`;
  useEffect(() => {
    const chart = plot.current;
    if (!chart) return;
    const { min, max } = chart.scales.x, zoomed = zoomOf(chart) !== null;
    chart.setData(data, !zoomed);
    if (zoomed) chart.setScale("x", { min, max });
  }, [signature]);
  useEffect(() => {
    if (range && plot.current && zoomOf(plot.current)?.join() !== range.join()) plot.current.setScale("x", { min: range[0], max: range[1] });
  }, [range?.join(), shape]);
  return html`<div class="chart" ref=${box} role="img" aria-label=${curves.map((curve) => curve.label).join(", ")}></div>`;
}

/** The steps that a zoomed chart shows; null for the whole run. @param {any} chart @returns {[number, number] | null} */
function zoomOf(chart) {
  const { min, max } = chart.scales.x, steps = chart.data[0];
  const isZoomed = min !== null && min !== undefined && steps.length > 1 && (min > steps[0] || max < steps[steps.length - 1]);
  return isZoomed ? [Math.max(steps[0], Math.floor(min)), Math.min(steps[steps.length - 1], Math.ceil(max))] : null;
}

/** Vertical lines at checkpoints. @param {any} chart @param {{ step: number, best: boolean }[]} marks @param {string} accent @param {string} text */
function drawMarks(chart, marks, accent, text) {
  const { ctx, bbox } = chart;
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px system-ui`;
  for (const { step, best } of marks) {
    const x = Math.round(chart.valToPos(step, "x", true));
    if (x < bbox.left || x > bbox.left + bbox.width + 1) continue;
    ctx.strokeStyle = ctx.fillStyle = best ? accent : text;
    ctx.textAlign = "left";
    ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    if (best) {
      const label = t("best"), width = ctx.measureText(label).width;
      ctx.fillText(label, Math.min(x + 4, bbox.left + bbox.width - width), bbox.top + 12 * devicePixelRatio);
    }
  }
  ctx.restore();
}
