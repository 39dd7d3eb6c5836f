-- A shallow tree may be the version in production.
alter table model_version drop constraint model_version_kind_check;
alter table model_version add constraint model_version_kind_check check (kind in ('linear', 'tree', 'deep'));
