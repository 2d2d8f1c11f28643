/** Texts in English and Chinese, dates, durations and numbers. */

/** @type {Record<string, [string, string]>} */
const TEXTS = {
  jobs: ["Jobs", "微调任务"],
  job: ["Job", "任务"],
  files: ["Files", "文件"],
  playground: ["Playground", "试用"],
  models: ["Models", "模型"],
  evaluations: ["Evaluations", "评估"],
  settings: ["Settings", "设置"],
  newJob: ["New job", "新建任务"],
  signIn: ["Sign in", "登录"],
  signInText: [
    "This server asks for an API key. It stays in this tab's memory and is gone when the tab is closed.",
    "此服务器需要 API 密钥。密钥只保存在当前标签页的内存里，关闭标签页后即消失。",
  ],
  apiKey: ["API key", "API 密钥"],
  signOut: ["Sign out", "退出登录"],
  skip: ["Skip to content", "跳到正文"],
  loading: ["Loading…", "加载中…"],
  noAnswer: ["The server does not answer. Trying again…", "服务器没有响应，正在重试……"],
  retry: ["Try again", "重试"],
  more: ["Show more", "显示更多"],
  cancel: ["Cancel", "取消"],
  pause: ["Pause", "暂停"],
  resume: ["Resume", "恢复"],
  remove: ["Delete", "删除"],
  download: ["Download", "下载"],
  close: ["Close", "关闭"],
  confirmCancel: ["Cancel this job? Its steps so far are lost.", "取消此任务？已完成的训练步将会丢失。"],
  confirmDelete: ["Delete {name}? This cannot be undone.", "删除 {name}？此操作无法撤销。"],
  light: ["Light", "浅色"],
  dark: ["Dark", "深色"],
  system: ["System", "跟随系统"],
  theme: ["Theme", "主题"],
  language: ["Language", "语言"],
  // statuses
  validating_files: ["validating files", "验证文件"],
  queued: ["queued", "排队中"],
  running: ["running", "训练中"],
  paused: ["paused", "已暂停"],
  succeeded: ["succeeded", "成功"],
  failed: ["failed", "失败"],
  cancelled: ["cancelled", "已取消"],
  in_progress: ["in progress", "进行中"],
  completed: ["completed", "已完成"],
  // jobs
  status: ["Status", "状态"],
  model: ["Model", "模型"],
  base: ["Base model", "基座模型"],
  progress: ["Progress", "进度"],
  loss: ["Loss", "损失"],
  created: ["Created", "创建时间"],
  finished: ["Finished", "完成时间"],
  all: ["All", "全部"],
  search: ["Search by name, id or metadata", "按名称、编号或元数据查找"],
  noJobs: ["No jobs yet. A fine-tuning job trains a model on your examples.", "还没有任务。微调任务用你的样本训练模型。"],
  noMatch: ["No job matches the filter.", "没有符合条件的任务。"],
  next: ["Starts next", "下一个开始"],
  startsAfterOne: ["Starts after 1 other", "在 1 个任务之后开始"],
  startsAfter: ["Starts after {n} others", "在 {n} 个任务之后开始"],
  inAbout: ["in about {time}", "约 {time}后"],
  timeLeft: ["{time} left", "剩余 {time}"],
  took: ["took {time}", "用时 {time}"],
  starting: ["The trainer loads the model…", "训练进程正在加载模型……"],
  step: ["step", "步"],
  stepOf: ["Step {step} of {total}", "第 {step} 步，共 {total} 步"],
  lossCurve: ["Loss", "损失"],
  accuracyCurve: ["Token accuracy", "token 准确率"],
  smoothing: ["Smoothing", "平滑"],
  logX: ["Log steps", "步数取对数"],
  logY: ["Log scale", "数值取对数"],
  resetZoom: ["Whole run", "整个训练过程"],
  zoomHint: ["Drag across the chart to zoom.", "在图上拖动可放大。"],
  train_loss: ["training loss", "训练损失"],
  valid_loss: ["validation loss", "验证损失"],
  full_valid_loss: ["full validation loss", "完整验证损失"],
  train_mean_token_accuracy: ["training accuracy", "训练准确率"],
  valid_mean_token_accuracy: ["validation accuracy", "验证准确率"],
  full_valid_mean_token_accuracy: ["full validation accuracy", "完整验证准确率"],
  noCurve: ["The curve begins with the first step.", "第一步之后出现曲线。"],
  validationRises: [
    "Full validation loss has risen since step {step} ({low} → {last}). Fewer epochs or more examples may help; the checkpoint of step {step} is the best so far.",
    "完整验证损失自第 {step} 步起上升（{low} → {last}）。可以减少轮数或增加样本；第 {step} 步的检查点目前最好。",
  ],
  checkpoints: ["Checkpoints", "检查点"],
  best: ["best", "最佳"],
  tryIt: ["Try", "试用"],
  continueFrom: ["Continue from it", "以此继续训练"],
  noCheckpoints: ["Checkpoints appear at the end of each epoch.", "每一轮结束时出现检查点。"],
  events: ["Events", "事件"],
  hyperparameters: ["Settings of the job", "任务设置"],
  method: ["Method", "方法"],
  seed: ["Seed", "随机种子"],
  trainingFile: ["Training file", "训练文件"],
  validationFile: ["Validation file", "验证文件"],
  metadata: ["Metadata", "元数据"],
  trainedTokens: ["Trained tokens", "已训练 token"],
  resultFile: ["Result file (CSV)", "结果文件（CSV）"],
  failure: ["The job failed", "任务失败"],
  seeFile: ["Show the file's findings", "查看文件的检查结果"],
  useModel: ["Use the model", "使用模型"],
  fineTunedModel: ["Fine-tuned model", "微调模型"],
  compareWith: ["Compare with another job", "与其他任务对比"],
  chooseJob: ["Choose a job…", "选择任务……"],
  differs: ["Settings that differ", "不同的设置"],
  sameSettings: ["All settings are the same.", "设置全部相同。"],
  thisJob: ["this job", "本任务"],
  copied: ["Copied", "已复制"],
  copy: ["Copy", "复制"],
  // new job
  dropFile: ["Drop a training file here, or choose one", "把训练文件拖到这里，或选择文件"],
  chooseFile: ["Choose a file", "选择文件"],
  orUploaded: ["or one that was uploaded before", "或选择以前上传的文件"],
  uploading: ["Uploading {name}…", "正在上传 {name}……"],
  checking: ["Checking every line…", "正在逐行检查……"],
  checkOk: ["{n} examples, no errors.", "{n} 条样本，没有错误。"],
  checkErrors: ["{errors} errors: the job would fail. Mend the file, or take the repaired copy.", "{errors} 个错误：任务会失败。请修正文件，或使用修复后的副本。"],
  warnings: ["{n} warnings", "{n} 个警告"],
  oneExample: ["1 example", "1 条样本"],
  estimate: ["Estimate", "估算"],
  tokens: ["Tokens", "token 数"],
  epochs: ["Epochs", "轮数"],
  duration: ["Duration here", "本机用时"],
  openaiPrice: ["Price at OpenAI until 2027", "2027 年之前 OpenAI 的价格"],
  unknownUntilJob: ["known after the first job on this base", "在此基座模型上完成第一个任务后可知"],
  splitOff: ["Hold out 20 % for validation", "留出 20% 作验证"],
  splitDone: ["{train} examples to train, {valid} held out", "{train} 条训练，{valid} 条留出"],
  repair: ["Use a repaired copy", "使用修复后的副本"],
  repaired: ["{n} lines were repaired, {rejected} cannot be.", "已修复 {n} 行，{rejected} 行无法修复。"],
  name: ["Name (suffix)", "名称（后缀）"],
  nameHint: ["becomes part of the model's name", "成为模型名称的一部分"],
  auto: ["auto", "自动"],
  batchSize: ["Batch size", "批次大小"],
  learningRate: ["Learning rate multiplier", "学习率倍数"],
  supervised: ["Supervised", "监督式"],
  preferences: ["Preferences (DPO)", "偏好（DPO）"],
  start: ["Start training", "开始训练"],
  fileStep: ["1. Data", "1. 数据"],
  modelStep: ["2. Base model and method", "2. 基座模型与方法"],
  settingsStep: ["3. Settings", "3. 设置"],
  autoHint: [
    "auto chooses epochs by the number of examples, small batches for small files, and the rate by the base model's size; the job's events say what it became.",
    "auto 按样本数选择轮数，小文件用小批次，学习率取决于基座模型的大小；任务的事件会说明实际取值。",
  ],
  none: ["none", "无"],
  // files
  noFiles: ["No files yet.", "还没有文件。"],
  purpose: ["Purpose", "用途"],
  size: ["Size", "大小"],
  examples: ["Examples", "样本"],
  findings: ["Findings", "检查结果"],
  onlyFindings: ["Only lines with findings", "只看有问题的行"],
  line: ["Line {n}", "第 {n} 行"],
  trainedHint: ["Coloured text is what the model is trained to write.", "着色的文字是模型要学会写的内容。"],
  asTokens: ["Trained tokens", "训练的 token"],
  asMessages: ["Messages", "消息"],
  notRendered: ["This line cannot be trained: {reason}", "此行无法训练：{reason}"],
  noFindings: ["No findings.", "没有发现问题。"],
  notJson: ["This line is no JSON object.", "此行不是 JSON 对象。"],
  fileTooLarge: ["The file is too large to be looked at here; use luthier check.", "文件太大，无法在这里查看；请用 luthier check。"],
  previous: ["Previous", "上一页"],
  nextPage: ["Next", "下一页"],
  showing: ["{from}–{to} of {total}", "{from}–{to}，共 {total}"],
  // playground
  systemPrompt: ["System message", "系统消息"],
  message: ["Message", "消息"],
  send: ["Send", "发送"],
  stop: ["Stop", "停止"],
  addModel: ["Compare with a second model", "与另一个模型对比"],
  functionsSent: ["Functions", "函数定义"],
  functionsFull: ["sent in full", "完整发送"],
  functionsSlim: ["names only", "只发名称"],
  functionsNone: ["not sent", "不发送"],
  functionsJson: ["Definitions (JSON list of tools)", "定义（工具的 JSON 列表）"],
  invalidJson: ["The definitions are no JSON list.", "定义不是 JSON 列表。"],
  maxTokens: ["Maximum tokens", "最大 token 数"],
  temperature: ["Temperature", "温度"],
  answer: ["Answer", "回答"],
  better: ["Better", "更好"],
  blind: ["Hide which model is which", "隐藏模型名称"],
  left: ["Left", "左"],
  right: ["Right", "右"],
  votes: ["{n} votes", "{n} 次投票"],
  votesHint: ["Votes become preference pairs for a DPO job.", "投票可导出为 DPO 任务的偏好对。"],
  downloadPairs: ["Download pairs (JSONL)", "下载偏好对（JSONL）"],
  secondsTokens: ["{seconds} s · {prompt} + {completion} tokens", "{seconds} 秒 · {prompt} + {completion} 个 token"],
  // models
  fineTuned: ["Fine-tuned models", "微调模型"],
  available: ["Base models and aliases", "基座模型与别名"],
  owner: ["Owner", "所有者"],
  standsFor: ["Stands for", "对应"],
  noTuned: ["No fine-tuned models yet.", "还没有微调模型。"],
  until: ["until {date}", "截至 {date}"],
  noEvaluations: ["No evaluations yet. luthier evaluate MODEL FILE creates one.", "还没有评估。用 luthier evaluate MODEL FILE 创建。"],
  score: ["Score", "得分"],
  serverVersion: ["Server", "服务器"],
  keyNote: ["Keys and projects are set where the server is started.", "密钥和项目在启动服务器时设置。"],
};

/** @type {"en" | "zh"} */
let language = stored("luthier-language") === "zh" || (!stored("luthier-language") && navigator.language.startsWith("zh"))
  ? "zh" : "en";

/** A preference of this browser; null where storage is off. @param {string} name */
export function stored(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/** @param {string} name @param {string} value */
export function store(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch { /* a browser without storage forgets the preference */ }
}

export const currentLanguage = () => language;

/** @param {"en" | "zh"} value */
export function setLanguage(value) {
  language = value;
  store("luthier-language", value);
  document.documentElement.lang = value === "zh" ? "zh-CN" : "en";
}

/** @param {string} key @param {Record<string, string | number>} [values] */
export function t(key, values = {}) {
  const text = TEXTS[key]?.[language === "zh" ? 1 : 0] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

const locale = () => (language === "zh" ? "zh-CN" : "en-GB");

/** @param {number | null | undefined} seconds Unix time */
export function date(seconds) {
  if (!seconds) return "–";
  const options = /** @type {Intl.DateTimeFormatOptions} */ ({ dateStyle: "medium", timeStyle: "short" });
  return new Date(seconds * 1000).toLocaleString(locale(), options);
}

/** @param {number} seconds */
export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString(locale());
}

/** @param {number} seconds */
export function duration(seconds) {
  const units = language === "zh" ? [" 秒", " 分钟", " 小时", " 天"] : [" s", " min", " h", " days"];
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))}${units[0]}`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}${units[1]}`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(1)}${units[2]}`;
  return `${(seconds / 86400).toFixed(1)}${units[3]}`;
}

/** @param {number | null | undefined} value */
export const number = (value) => (value === null || value === undefined ? "–" : value.toLocaleString(locale()));

/** @param {number} value */
export function bytes(value) {
  if (value < 1000) return `${value} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} kB`;
  return value < 1e9 ? `${(value / 1e6).toFixed(1)} MB` : `${(value / 1e9).toFixed(1)} GB`;
}
