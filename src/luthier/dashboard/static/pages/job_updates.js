/** A job while it is watched: its curves and messages once, then what is new of them, in one request each time. */

import { useEffect, useRef } from "../preact.js";
import { get } from "../api.js";
import { currentLanguage } from "../i18n.js";
import { usePolled } from "../ui.js";

export const POINTS = 1200;  // of a curve
const POLL_S = 2;
const COLUMNS = ["step", "value", "minimum", "maximum"];

/** @typedef {Record<string, Record<string, number[]>>} Metrics columns by metric */
/** @typedef {{ view: any, series: Metrics, messages: any[] }} WatchedJob `messages`: the newest first */

/** @returns {WatchedJob} */
const unread = () => ({ view: null, series: {}, messages: [] });

/**
 * A job, with all of its curves again when they have twice the points.
 * @param {string} id @param {boolean} live
 * @returns {{ data: WatchedJob | undefined, error: Error | null, reload: () => void }} `data`: undefined until it is read
 */
export function useJob(id, live) {
  const known = useRef(unread());
  useEffect(() => { known.current = unread(); }, [id, currentLanguage()]);
  return usePolled(async (isCurrent) => {
    for (;;) {
      const { series, messages } = known.current;
      const whole = longest(series) > 2 * POINTS;
      const query = { points: POINTS, after: whole ? 0 : lastStep(series), after_event: messages[0]?.id };
      const news = await get(`/luthier/jobs/${encodeURIComponent(id)}/updates`, query);
      if (!isCurrent()) return known.current;  // a later call reads the same news, which must not be added twice
      known.current = {
        view: news.view, series: whole ? news.series : joined(series, news.series), messages: [...news.events.reverse(), ...messages],
      };
      if (!news.has_more) return known.current;
    }
  }, [id, currentLanguage()], live ? POLL_S : 0);
}

/** @param {Metrics} series */
const lastStep = (series) => Math.max(0, ...Object.values(series).map(({ step }) => step[step.length - 1]));

/** @param {Metrics} series */
const longest = (series) => Math.max(0, ...Object.values(series).map(({ step }) => step.length));

/** @param {Metrics} before @param {Metrics} added @returns {Metrics} */
function joined(before, added) {
  const names = Object.keys(added);
  if (!names.length) return before;
  return { ...before, ...Object.fromEntries(names.map((name) => [name, Object.fromEntries(COLUMNS.map((column) =>
    [column, [...(before[name]?.[column] ?? []), ...added[name][column]]]))])) };
}
