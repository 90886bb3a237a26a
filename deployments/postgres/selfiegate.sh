#!/bin/sh
# Makes selfiegate's role and database beside Prefect's; safe to repeat. The image of PostgreSQL runs this file when it
# makes its data. Data that were there before lack both; docs/operations.md says how to run it on them.
set -eu
: "${DATABASE_PASSWORD:?set it in deployments/.env}"

psql --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\getenv password DATABASE_PASSWORD
\getenv prefect POSTGRES_DB
SELECT 'CREATE ROLE selfiegate' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'selfiegate') \gexec
ALTER ROLE selfiegate LOGIN PASSWORD :'password';
SELECT 'CREATE DATABASE selfiegate OWNER selfiegate' WHERE NOT EXISTS (
    SELECT FROM pg_database WHERE datname = 'selfiegate') \gexec
-- By default every role may connect to every database.
REVOKE CONNECT ON DATABASE selfiegate, :"prefect" FROM PUBLIC;
SQL
