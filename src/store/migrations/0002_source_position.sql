-- How far each source of messages is read; written in the transaction of what was read.
-- `of` is what moves (a file, a partition), `at` how far, both in words of the source.
create table source_position (
    source      text not null,
    of          text not null,
    at          text not null,
    updated_at  timestamptz not null default now(),
    primary key (source, of)
);
