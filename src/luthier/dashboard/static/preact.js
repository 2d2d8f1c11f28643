/** The parts of Preact and htm that the pages use. */
export {
  html, render, useEffect, useMemo, useRef, useState, useCallback,
} from "./vendor/htm-preact.js";
