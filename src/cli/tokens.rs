//! `driftline tokens`: who may use the API and the page.

use std::io::Write;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgPool;

use super::ExitStatus;
use super::retrain::plain_table;
use crate::app;
use crate::config::{Settings, Span};
use crate::http::Secret;
use crate::store::token::{self, Scope, Token};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make a token and show it, once
    Create {
        /// Who or what is going to use it
        name: String,
        /// What for: `read`, `label` (post labels, predictions and events), `operate` (read, and change things); may be
        /// repeated, or separated by commas
        #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', default_value = "read", value_parser = Scope::parse)]
        scopes: Vec<Scope>,
        /// When it ends, from now on: 30d, 12h; without it, never
        #[arg(long, value_name = "TIME", value_parser = parse_span)]
        expires: Option<Span>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List tokens, newest first; never the tokens themselves, which are not kept
    List {
        /// Those that have ended or were revoked, too
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a token and its sessions at once
    Revoke {
        /// Its name, or its id
        which: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

fn parse_span(text: &str) -> Result<Span, String> {
    Span::try_from(text.to_owned())
}

/// Carries out `command`.
///
/// # Errors
///
/// When the database is not reached, or what is named does not exist.
pub(super) async fn run(
    command: Command,
    settings: &Settings,
    out: &mut impl Write,
) -> anyhow::Result<ExitStatus> {
    let database = app::open_database(settings).await?;
    let outcome = carry_out(command, &database.pool, app::now(), out).await;
    database.close().await?;
    outcome.map(|()| ExitStatus::Success)
}

async fn carry_out(
    command: Command,
    pool: &PgPool,
    now: DateTime<Utc>,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match command {
        Command::Create { name, scopes, expires, json } => {
            let ends = expires.map(|span| {
                let length = TimeDelta::from_std(span.0).context("`--expires` is too long")?;
                now.checked_add_signed(length).context("`--expires` is too long")
            });
            let secret = Secret::new()?;
            let made = token::create(pool, &name, &secret.hash(), &scopes, ends.transpose()?, now).await?;
            if json {
                let mut shown = serde_json::to_value(&made)?;
                shown["token"] = secret.expose().into();
                writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
                return Ok(());
            }
            writeln!(out, "{}", secret.expose())?;
            let end =
                made.expires_at.map_or_else(|| "never".to_owned(), |end| end.format("%F %T UTC").to_string());
            let hint = format!(
                "token `{}` ({}), ends {end}; it is not shown again\nhint: send it as `Authorization: Bearer TOKEN`, \
                 or log in with it at the admin port",
                made.name,
                words(&made)
            );
            writeln!(std::io::stderr(), "{hint}")?;
        }
        Command::List { all, json } => {
            let tokens = token::list(pool, all, now).await?;
            if json {
                writeln!(out, "{}", json!({ "tokens": tokens }))?;
                return Ok(());
            }
            let mut table = plain_table(&["NAME", "SCOPES", "STATE", "MADE", "ENDS", "LAST USED", "ID"]);
            let time = |time: Option<DateTime<Utc>>| {
                time.map_or_else(|| "-".to_owned(), |time| time.format("%F %H:%M").to_string())
            };
            for token in tokens {
                let state = match (token.revoked_at, token.holds(now)) {
                    (Some(_), _) => "revoked",
                    (None, true) => "holds",
                    (None, false) => "ended",
                };
                table.add_row([
                    token.name.clone(),
                    words(&token),
                    state.to_owned(),
                    time(Some(token.created_at)),
                    time(token.expires_at),
                    time(token.last_used_at),
                    token.id.to_string(),
                ]);
            }
            writeln!(out, "{table}")?;
        }
        Command::Revoke { which, json } => {
            let revoked = token::revoke(pool, &which, now).await?;
            if json {
                writeln!(out, "{}", serde_json::to_string_pretty(&revoked)?)?;
            } else {
                writeln!(out, "token `{}` is revoked, and its sessions are over", revoked.name)?;
            }
        }
    }
    Ok(())
}

fn words(token: &Token) -> String {
    token.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ")
}
