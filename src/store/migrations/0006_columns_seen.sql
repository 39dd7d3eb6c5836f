-- What columns the rows of a part had beside those of its baseline, and which they lacked.
alter table profile_part add column columns_seen jsonb not null default '{}';
