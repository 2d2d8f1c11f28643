-- A database of schema version 1, with a file, a job, its event, a checkpoint and its model.
BEGIN TRANSACTION;
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
INSERT INTO "checkpoints" VALUES(1,'ftckpt_c2LpPCUofjQFm5wEO504O1Fx','ftjob-of-version-1','ft:gpt-4o-mini-2024-07-18:personal::00000001',1,'{"step": 1}',1795344149);
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
    PRIMARY KEY (seq),
    UNIQUE (job_id, step),
    UNIQUE (id),
    FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "events" VALUES(1,'ftevent-MOdkvR7GRsQKLN8R2AopPPHc','ftjob-of-version-1',1795344149,'info','message','Created fine-tuning job: ftjob-of-version-1','null',NULL);
INSERT INTO "events" VALUES(2,'ftevent-YIw1jy2x7G1xkms7rvU2LXXZ','ftjob-of-version-1',1795344149,'info','message','made','null',NULL);
CREATE TABLE files (
    seq INTEGER NOT NULL,
    id VARCHAR(64) NOT NULL,
    filename TEXT NOT NULL,
    purpose VARCHAR(32) NOT NULL,
    bytes INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
INSERT INTO "files" VALUES(1,'file-of-version-1','a.jsonl','fine-tune',1,1795344149,NULL);
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
    PRIMARY KEY (seq),
    UNIQUE (id)
);
INSERT INTO "jobs" VALUES(1,'ftjob-of-version-1','validating_files','gpt-4o-mini-2024-07-18','tiny',NULL,'file-1',NULL,NULL,1,'{"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}}','[]','{"team": "a"}',1795344149,NULL,NULL,NULL,NULL,'[]',NULL,NULL,NULL,0);
CREATE TABLE models (
    seq INTEGER NOT NULL,
    id TEXT NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    base TEXT NOT NULL,
    root TEXT NOT NULL,
    adapter VARCHAR(64) NOT NULL,
    call_form VARCHAR(16),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (seq),
    UNIQUE (id),
    FOREIGN KEY(job_id) REFERENCES jobs (id)
);
INSERT INTO "models" VALUES(1,'ft:gpt-4o-mini-2024-07-18:personal::00000001','ftjob-of-version-1','tiny','gpt-4o-mini-2024-07-18','ftjob-of-version-1-step-1','tools',1795344149);
CREATE TABLE schema (
    version INTEGER NOT NULL
);
INSERT INTO "schema" VALUES(1);
CREATE INDEX ix_jobs_status ON jobs (status);
CREATE INDEX events_by_job ON events (job_id, seq);
COMMIT;
