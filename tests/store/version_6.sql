-- A database of schema version 6, with what that of version 5 holds.
BEGIN TRANSACTION;
CREATE TABLE api_keys (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    name TEXT NOT NULL,
    hash VARCHAR(64) NOT NULL,
    hint VARCHAR(16) NOT NULL,
    project VARCHAR(64),
    role VARCHAR(16) NOT NULL,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER, max_jobs INTEGER, max_bytes BIGINT,
    PRIMARY KEY (seq),
    UNIQUE (id),
    UNIQUE (hash)
);
INSERT INTO "api_keys" VALUES(1,'key_liALsun4Gdtsu7OYNDBhK169','of-version-6','6656d6b19f92867d9456fcd71c12f5832b1080d91452e25920699ff1eec1f685','OaZw',NULL,'member',60,NULL,1796000539,NULL,NULL,NULL,NULL);
CREATE TABLE audit_log (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    created_at INTEGER NOT NULL,
    key_id VARCHAR(64),
    project VARCHAR(64),
    client VARCHAR(64) NOT NULL,
    action TEXT NOT NULL,
    path TEXT NOT NULL,
    request_id VARCHAR(64) NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE TABLE batches (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    endpoint VARCHAR(64) NOT NULL,
    model TEXT,
    errors JSON,
    input_file_id VARCHAR(64) NOT NULL,
    completion_window VARCHAR(16) NOT NULL,
    status VARCHAR(16) NOT NULL,
    output_file_id VARCHAR(64),
    error_file_id VARCHAR(64),
    output_expires_after_s INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    in_progress_at INTEGER,
    finalizing_at INTEGER,
    completed_at INTEGER,
    failed_at INTEGER,
    expired_at INTEGER,
    cancelling_at INTEGER,
    cancelled_at INTEGER,
    request_counts JSON NOT NULL,
    usage JSON,
    metadata JSON,
    owner VARCHAR(64),
    lease_until FLOAT,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
INSERT INTO "batches" VALUES(1,'batch-of-version-6','/v1/chat/completions',NULL,NULL,'file-of-version-6','24h','validating',NULL,NULL,NULL,1795962635,1796049035,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'{"total": 0, "completed": 0, "failed": 0}',NULL,NULL,'runner-of-version-6',1.79596266564127564433e+09,'default');
CREATE TABLE bucket_owner (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    url TEXT NOT NULL,
    PRIMARY KEY (seq)
);
CREATE TABLE checkpoints (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    model TEXT NOT NULL,
    step INTEGER NOT NULL,
    metrics JSON NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (job_id, step),
    UNIQUE (id),
    FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "checkpoints" VALUES(1,'ftckpt_6XJyh4RQiX4kZw8iihn43Ude','ftjob-of-version-6','ft:gpt-4o-mini-2024-07-18:personal::00000001',1,'{"step": 1}',1795962635);
CREATE TABLE checksums (
    path TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    PRIMARY KEY (path)
);
CREATE TABLE completions (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    model TEXT NOT NULL,
    metadata JSON NOT NULL,
    completion JSON NOT NULL,
    messages JSON NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE TABLE conversations (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    metadata JSON NOT NULL,
    created_at INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE TABLE eval_items (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    run_id VARCHAR(64) NOT NULL,
    eval_id VARCHAR(64) NOT NULL,
    status VARCHAR(16) NOT NULL,
    datasource_item_id INTEGER NOT NULL,
    datasource_item JSON NOT NULL,
    answer JSON,
    sample JSON,
    results JSON NOT NULL,
    usage JSON NOT NULL,
    created_at INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (run_id, datasource_item_id),
    UNIQUE (id)
);
CREATE TABLE eval_runs (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    eval_id VARCHAR(64) NOT NULL,
    name TEXT NOT NULL,
    model TEXT NOT NULL,
    status VARCHAR(16) NOT NULL,
    data_source JSON NOT NULL,
    metadata JSON NOT NULL,
    error JSON,
    created_at INTEGER NOT NULL,
    items_at INTEGER,
    finished_at INTEGER,
    per_model_usage JSON NOT NULL,
    per_testing_criteria_results JSON NOT NULL,
    owner VARCHAR(64),
    lease_until FLOAT,
    attempts INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE TABLE evals (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    name TEXT NOT NULL,
    data_source_config JSON NOT NULL,
    testing_criteria JSON NOT NULL,
    metadata JSON NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE TABLE evaluations (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    model TEXT NOT NULL,
    status VARCHAR(16) NOT NULL,
    validation_file VARCHAR(64),
    filename TEXT,
    against JSON NOT NULL,
    functions INTEGER NOT NULL,
    definitions JSON NOT NULL,
    "limit" INTEGER,
    max_tokens INTEGER,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    done INTEGER NOT NULL,
    total INTEGER NOT NULL,
    error JSON,
    headline JSON,
    report JSON,
    owner VARCHAR(64),
    lease_until FLOAT,
    attempts INTEGER DEFAULT '0' NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
INSERT INTO "evaluations" VALUES(1,'evaluation-of-version-6','gpt-4o-mini','running','file-of-version-6','a.jsonl','[]',0,'["full"]',NULL,NULL,1795962635,NULL,0,0,NULL,NULL,NULL,NULL,NULL,0,'default');
CREATE TABLE events (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    created_at INTEGER NOT NULL,
    level VARCHAR(8) NOT NULL,
    type VARCHAR(16) NOT NULL,
    message TEXT NOT NULL,
    data JSON,
    step INTEGER,
    "key" VARCHAR(64),
    PRIMARY KEY (seq),
    UNIQUE (job_id, step),
    UNIQUE (id),
    FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "events" VALUES(1,'ftevent-9PysUZyz2wZBIC04fGEb4eZ3','ftjob-of-version-6',1795962635,'info','message','Created fine-tuning job: ftjob-of-version-6','null',NULL,NULL);
INSERT INTO "events" VALUES(2,'ftevent-9sO4YrTF9xTMI8gM4IKpGnpz','ftjob-of-version-6',1795962635,'info','message','made','null',NULL,NULL);
CREATE TABLE exports (
    seq INTEGER NOT NULL,
    model TEXT NOT NULL,
    target VARCHAR(64) NOT NULL,
    folder TEXT NOT NULL,
    artefacts JSON NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (seq)
);
CREATE TABLE files (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    filename TEXT NOT NULL,
    purpose VARCHAR(32) NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
INSERT INTO "files" VALUES(1,'file-of-version-6','a.jsonl','fine-tune',1,1795962635,NULL,'default');
CREATE TABLE idempotency_reservations (
    "key" VARCHAR(64) NOT NULL,
    request_digest VARCHAR(64) NOT NULL,
    seed VARCHAR(64) NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY ("key")
);
CREATE TABLE imported_files (
    id VARCHAR(64) NOT NULL,
    source TEXT NOT NULL,
    imported_at INTEGER NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE items (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    response VARCHAR(64),
    side VARCHAR(8),
    conversation VARCHAR(64),
    item JSON NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE TABLE job_states (
    job_id VARCHAR(64) NOT NULL,
    save VARCHAR(64) NOT NULL,
    files JSON NOT NULL,
    saved_at INTEGER NOT NULL,
    PRIMARY KEY (job_id)
);
CREATE TABLE jobs (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    status VARCHAR(32) NOT NULL,
    model TEXT NOT NULL,
    base TEXT NOT NULL,
    parent TEXT,
    training_file VARCHAR(64) NOT NULL,
    validation_file VARCHAR(64),
    suffix VARCHAR(64),
    seed INTEGER NOT NULL,
    method JSON NOT NULL,
    integrations JSON NOT NULL,
    metadata JSON,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    estimated_finish INTEGER,
    fine_tuned_model TEXT,
    trained_tokens INTEGER,
    result_files JSON NOT NULL,
    error JSON,
    owner VARCHAR(64),
    lease_until FLOAT,
    attempts INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL, name TEXT,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
INSERT INTO "jobs" VALUES(1,'ftjob-of-version-6','validating_files','gpt-4o-mini-2024-07-18','tiny',NULL,'file-1',NULL,NULL,1,'{"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}}','[]','{"team": "a"}',1795962635,NULL,NULL,NULL,NULL,'[]',NULL,NULL,NULL,0,'default',NULL);
CREATE TABLE key_objects (
    object_id VARCHAR(64) NOT NULL,
    key_id VARCHAR(64) NOT NULL,
    PRIMARY KEY (object_id)
);
CREATE TABLE models (
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    base TEXT NOT NULL,
    root TEXT NOT NULL,
    adapter VARCHAR(64) NOT NULL,
    call_form VARCHAR(16),
    created_at INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id),
    FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "models" VALUES(1,'ft:gpt-4o-mini-2024-07-18:personal::00000001','ftjob-of-version-6','tiny','gpt-4o-mini-2024-07-18','ftjob-of-version-6-step-1',NULL,1795962635,'default');
CREATE TABLE outbox (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    status VARCHAR(16) NOT NULL,
    destination VARCHAR(64) NOT NULL,
    subject VARCHAR(64) NOT NULL,
    body JSON NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    last_attempt_at INTEGER,
    status_code INTEGER,
    error TEXT,
    owner VARCHAR(64),
    lease_until FLOAT,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE TABLE permissions (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    model TEXT NOT NULL,
    project VARCHAR(64) NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (model, project),
    UNIQUE (id),
    FOREIGN KEY(model) REFERENCES models (id) ON DELETE CASCADE
);
CREATE TABLE replays (
    seq INTEGER NOT NULL,
    "key" VARCHAR(64) NOT NULL,
    asked VARCHAR(64) NOT NULL,
    status INTEGER NOT NULL,
    headers JSON NOT NULL,
    body BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE ("key")
);
CREATE TABLE responses (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    object VARCHAR(24) NOT NULL,
    status VARCHAR(16) NOT NULL,
    previous VARCHAR(64),
    conversation VARCHAR(64),
    fields JSON NOT NULL,
    deltas JSON NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE TABLE schema (
    version INTEGER NOT NULL
);
INSERT INTO "schema" VALUES(6);
CREATE TABLE upload_parts (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    upload_id VARCHAR(64) NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id),
    FOREIGN KEY(upload_id) REFERENCES uploads (id)
);
CREATE TABLE uploads (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    filename TEXT NOT NULL,
    purpose VARCHAR(32) NOT NULL,
    bytes INTEGER NOT NULL,
    file_expires_after_s INTEGER,
    status VARCHAR(16) NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    part_ids JSON,
    file JSON,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE TABLE webhook_endpoints (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    event_types JSON NOT NULL,
    secret VARCHAR(64) NOT NULL,
    old_secret VARCHAR(64),
    old_secret_until INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    project VARCHAR(64) DEFAULT 'default' NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE INDEX ix_jobs_status ON jobs (status);
CREATE INDEX ix_outbox_status ON outbox (status);
CREATE INDEX outbox_by_destination ON outbox (destination, status, subject, seq);
CREATE INDEX ix_batches_status ON batches (status);
CREATE INDEX ix_items_response ON items (response);
CREATE INDEX ix_items_conversation ON items (conversation);
CREATE INDEX ix_evaluations_model ON evaluations (model);
CREATE INDEX ix_evaluations_status ON evaluations (status);
CREATE INDEX ix_exports_model ON exports (model);
CREATE INDEX ix_completions_model ON completions (model);
CREATE INDEX events_by_job ON events (job_id, seq);
CREATE INDEX ix_upload_parts_upload_id ON upload_parts (upload_id);
CREATE INDEX key_objects_by_key ON key_objects (key_id);
CREATE INDEX eval_items_by_status ON eval_items (run_id, status, seq);
CREATE INDEX ix_eval_runs_status ON eval_runs (status);
CREATE INDEX ix_eval_runs_eval_id ON eval_runs (eval_id);
COMMIT;
