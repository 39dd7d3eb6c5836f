-- Labels by any id or by a business key; those without a prediction wait apart from those that have one.

-- The value of the column that the settings name as business key, as text; null where there is none.
alter table captured_row add column business_key text;
create index captured_row_key_idx on captured_row (model, business_key, event_time)
    where business_key is not null;

-- Further ids of exchanges; their rows are `exchange`, or `exchange_0` and on where there are several.
-- `exchange` is null for an id that several exchanges have, such as that of a trace: it finds none of them.
create table exchange_alias (
    model       text not null constraint exchange_alias_model_fkey references model (name),
    alias       text not null,
    exchange    text,
    row_count   integer not null,
    created_at  timestamptz not null default now(),
    primary key (model, alias)
);
create index exchange_alias_created_idx on exchange_alias (created_at);

-- A label has a prediction from now on. `late`: it became known later than the settings expect.
alter table label add column predicted_at timestamptz;
alter table label add column late boolean not null default false;
update label l set predicted_at = c.event_time from captured_row c where c.model = l.model and c.row_id = l.row_id;

-- Labels whose prediction is not stored yet, or never will be. `lookup` is what finds it, all spellings included;
-- `target` names it, so that a label that comes twice waits once.
create table label_waiting (
    id           bigint generated always as identity primary key,
    model        text not null constraint label_waiting_model_fkey references model (name),
    target       text not null,
    lookup       jsonb not null,
    value        jsonb not null,
    labelled_at  timestamptz not null,
    max_delay    interval not null,
    created_at   timestamptz not null default now(),
    constraint label_waiting_target_key unique (model, target)
);
create index label_waiting_created_idx on label_waiting (created_at);

-- Under which names of a new row a label is looked for.
create table label_waiting_name (
    model    text not null,
    name     text not null,
    waiting  bigint not null constraint label_waiting_name_waiting_fkey references label_waiting (id) on delete cascade,
    primary key (model, name, waiting)
);
create index label_waiting_name_waiting_idx on label_waiting_name (waiting);

insert into label_waiting (model, target, lookup, value, labelled_at, max_delay, created_at)
    select model, 'i::' || row_id, jsonb_build_object('ids', jsonb_build_array(jsonb_build_array(row_id, null))),
           value, labelled_at, interval '7 days', created_at
    from label where predicted_at is null;
insert into label_waiting_name (model, name, waiting)
    select model, kind || (lookup #>> '{ids,0,0}'), id from label_waiting, unnest(array['r:', 'a:']) as kind;
delete from label where predicted_at is null;
alter table label alter column predicted_at set not null;

-- What became of labels, in pieces that are added up; written with the labels themselves.
create table label_count (
    model    text not null,
    outcome  text not null,
    labels   bigint not null
);
