/** Shell of the dashboard: sign-in, navigation, language and theme; pages by the address after `#`. */

import { html, render, useEffect, useState } from "./preact.js";
import { ApiError, get, setKey, whenKeyIsRefused } from "./api.js";
import { currentLanguage, setLanguage, store, stored, t } from "./i18n.js";
import { JobsPage } from "./pages/jobs.js";
import { JobPage } from "./pages/job.js";
import { NewJobPage } from "./pages/new_job.js";
import { FilesPage } from "./pages/files.js";
import { FilePage } from "./pages/file.js";
import { PlaygroundPage } from "./pages/playground.js";
import { ModelPage, ModelsPage } from "./pages/models.js";
import { EvaluationsPage } from "./pages/evaluations.js";
import { MigrationPage } from "./pages/migration.js";
import { SettingsPage } from "./pages/settings.js";

/** @type {Record<string, (props: any) => unknown>} */
const PAGES = {
  jobs: JobsPage, job: JobPage, "new-job": NewJobPage, files: FilesPage, file: FilePage,
  playground: PlaygroundPage, models: ModelsPage, model: ModelPage, evaluations: EvaluationsPage,
  migration: MigrationPage, settings: SettingsPage,
};
const NAVIGATION = ["jobs", "files", "playground", "models", "evaluations", "migration", "settings"];
/** @type {Record<string, string>} */
const PARENT = { job: "jobs", "new-job": "jobs", file: "files", model: "models" };

/** The page, the id and the parameters of `#/page/id?name=value`. */
function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [page, ...rest] = path.split("/");
  return { page: page in PAGES ? page : "jobs", id: rest.map(decodeURIComponent).join("/"), query: new URLSearchParams(query) };
}

function useRoute() {
  const [current, setCurrent] = useState(route());
  useEffect(() => {
    const follow = () => {
      setCurrent(route());
      window.scrollTo(0, 0);
      document.getElementById("content")?.focus({ preventScroll: true });  // the link that was followed may be gone
    };
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);
  return current;
}

/** @param {string} theme */
function applyTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  store("luthier-theme", theme);
}

function App() {
  const { page, id, query } = useRoute();
  const [isOpen, setIsOpen] = useState(true);
  const [language, chooseLanguage] = useState(currentLanguage());
  const [theme, chooseTheme] = useState(stored("luthier-theme") ?? "system");
  useEffect(() => whenKeyIsRefused(() => setIsOpen(false)), []);
  /** Goes on with a key; why it cannot, if the server refuses it. @param {string} key */
  const signIn = async (key) => {
    setKey(key);
    try {
      await get("/luthier/jobs", { limit: 1 });
    } catch (error) {  // of any other error pages show what is wrong, and try again
      if (error instanceof ApiError && error.status === 401) return error.message;
    }
    setIsOpen(true);
    return "";
  };
  const Page = PAGES[page];
  const active = PARENT[page] ?? page;
  const settings = {
    language, theme,
    onLanguage: (/** @type {"en" | "zh"} */ value) => { setLanguage(value); chooseLanguage(value); },
    onTheme: (/** @type {string} */ value) => { applyTheme(value); chooseTheme(value); },
    onSignOut: () => signIn(""),
  };
  const skip = (/** @type {Event} */ event) => { event.preventDefault(); document.getElementById("content")?.focus(); };
  return html`<a class="skip" href="#content" onClick=${skip}>${t("skip")}</a>
    <header>
      <a class="brand" href="#/jobs"><img src="/dashboard/icon.svg" alt="" width="24" height="24" /> Luthier</a>
      <nav aria-label="Luthier">${NAVIGATION.map((name) => html`<a href=${`#/${name}`}
        aria-current=${active === name ? "page" : undefined}>${t(name)}</a>`)}</nav>
      <button class="small ghost language" lang=${language === "en" ? "zh-CN" : "en"}
        onClick=${() => settings.onLanguage(language === "en" ? "zh" : "en")}>${language === "en" ? "中文" : "English"}</button>
    </header>
    <main id="content" tabindex="-1">
      ${isOpen ? html`<${Page} key=${`${page}/${id}`} id=${id} query=${query} ...${settings} />` : html`<${SignIn} onKey=${signIn} />`}
    </main>`;
}

/** @param {{ onKey: (key: string) => Promise<string> }} props */
function SignIn({ onKey }) {
  const [key, setValue] = useState("");
  const [message, setMessage] = useState("");
  const submit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setMessage(await onKey(key.trim()));
  };
  return html`<form class="card narrow" onSubmit=${submit}>
    <h1>${t("signIn")}</h1><p>${t("signInText")}</p>
    <label>${t("apiKey")}<input type="password" autocomplete="off" required value=${key}
      onInput=${(/** @type {any} */ event) => setValue(event.target.value)} /></label>
    ${message && html`<div class="notice bad" role="alert">${message}</div>`}
    <button>${t("signIn")}</button></form>`;
}

document.documentElement.lang = currentLanguage() === "zh" ? "zh-CN" : "en";
applyTheme(stored("luthier-theme") ?? "system");
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("app")));
