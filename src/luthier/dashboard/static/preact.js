/** The parts of Preact and htm that the pages use, with their types. */

import * as library from "./vendor/htm-preact.js";

const untyped = /** @type {any} */ (library);

/** @type {(strings: TemplateStringsArray, ...values: unknown[]) => any} */
export const html = untyped.html;
/** @type {(content: any, into: HTMLElement) => void} */
export const render = untyped.render;
/** @type {(effect: () => void | (() => void), keys?: unknown[]) => void} */
export const useEffect = untyped.useEffect;
/** @type {<Result>(compute: () => Result, keys: unknown[]) => Result} */
export const useMemo = untyped.useMemo;
/** @type {<Value>(value: Value) => { current: Value }} */
export const useRef = untyped.useRef;
/** @type {<Value>(value: Value) => [Value, (value: Value | ((before: Value) => Value)) => void]} */
export const useState = untyped.useState;
