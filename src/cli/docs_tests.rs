//! Keeps the documents true: every command that they show parses, and every piece of settings is read.

use std::path::{Path, PathBuf};

use clap::Parser;

use super::{Cli, RetrainCli};
use crate::config::{Settings, SettingsError};

/// A fenced block, or one piece of code within a line.
struct Piece {
    place: String,
    language: String,
    text: String,
}

/// Every document for people.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<PathBuf> =
        ["README.md", "rules/README.md", "baselines/README.md"].map(|name| root.join(name)).to_vec();
    let in_docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let before = found.len();
    found.extend(in_docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    assert!(found.len() > before + 4, "docs/ has few documents: {found:?}");
    found
}

fn pieces(path: &Path) -> Vec<Piece> {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy();
    let mut pieces = Vec::new();
    let mut block: Option<(usize, String, Vec<&str>)> = None;
    for (at, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (fence, &mut block) {
            (Some(language), None) => block = Some((at + 1, language.trim().to_owned(), Vec::new())),
            (Some(_), Some(_)) => {
                let (start, language, lines) = block.take().unwrap();
                pieces.push(Piece { place: format!("{name}:{start}"), language, text: lines.join("\n") });
            }
            (None, Some((_, _, lines))) => lines.push(line),
            (None, None) if line.matches('`').count() % 2 == 1 => {}
            (None, None) => {
                let inline = line.split('`').skip(1).step_by(2);
                pieces.extend(inline.map(|code| Piece {
                    place: format!("{name}:{}", at + 1),
                    language: "inline".to_owned(),
                    text: code.to_owned(),
                }));
            }
        }
    }
    assert!(block.is_none(), "{name}: a block is not closed");
    pieces
}

/// The command lines of a piece: continued lines are joined, prompts, comments and what follows `|`, `&&` or `#` left out.
fn commands(piece: &Piece) -> Vec<String> {
    let joined = piece.text.replace("\\\n", " ");
    joined
        .lines()
        .map(|line| line.trim().trim_start_matches("$ ").to_owned())
        .filter(|line| line.starts_with("driftline ") || line.starts_with("retrain "))
        .map(|line| line.split(" #").next().unwrap().split(" | ").next().unwrap().trim().to_owned())
        // Inline code may name a family of commands, or leave something open.
        .filter(|line| !line.contains(['|', '…', '[', '<', '>']))
        .collect()
}

/// Splits at blanks outside quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in line.chars() {
        match quote {
            Some(open) if open == character => quote = None,
            None if character == '"' || character == '\'' => quote = Some(character),
            None if character == ' ' => words.push(String::new()),
            _ => words.last_mut().unwrap().push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A word in capitals stands for an id, a name or a number.
fn filled(word: String) -> String {
    let stands_for_an_id = ["REPORT", "RUN"].contains(&word.as_str());
    if stands_for_an_id { "01936f2e-7b7a-7000-8000-000000000000".to_owned() } else { word }
}

#[test]
fn every_command_in_the_documents_parses() {
    let mut seen = 0;
    let mut problems = Vec::new();
    for piece in documents().iter().flat_map(|path| pieces(path)) {
        for line in commands(&piece) {
            let words: Vec<String> = words(&line).into_iter().map(filled).collect();
            // `driftline rules` alone names a noun; clap's help for it is no mistake.
            let outcome = if words[0] == "retrain" {
                RetrainCli::try_parse_from(&words).map(|_| ())
            } else {
                Cli::try_parse_from(&words).map(|_| ())
            };
            seen += 1;
            if let Err(error) = outcome
                && !(piece.language == "inline" && incomplete(&error))
            {
                let said = error.to_string();
                problems.push(format!("{}: `{line}`: {}", piece.place, said.lines().next().unwrap_or("")));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 60, "only {seen} commands were found");
}

/// Whether only arguments are missing, as when a text names a command.
fn incomplete(error: &clap::Error) -> bool {
    use clap::error::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::MissingRequiredArgument
            | ErrorKind::MissingSubcommand
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            | ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
    )
}

#[test]
fn every_alert_that_ships_says_what_to_do() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let headings: Vec<&str> = manual.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut names = Vec::new();
    for folder in ["rules", "dashboards/prometheus/rules"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let is_yaml = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            if !is_yaml || path.file_stem().is_some_and(|stem| stem.to_string_lossy().contains("test")) {
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            names.extend(
                text.lines().filter_map(|line| {
                    line.trim().strip_prefix("- alert: ").map(|name| name.trim().to_owned())
                }),
            );
        }
    }
    assert!(names.len() > 20, "{names:?}");
    names.extend(crate::alert::Fault::ALL.map(|fault| fault.as_str().to_owned()));
    let missing: Vec<&String> = names.iter().filter(|name| !headings.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "docs/operations.md has no heading for {missing:?}");
    let unknown: Vec<&&str> = headings.iter().filter(|name| !names.contains(&(**name).to_owned())).collect();
    assert!(unknown.is_empty(), "docs/operations.md tells of {unknown:?}, which does not ship");
}

#[test]
fn every_piece_of_settings_in_the_documents_is_read() {
    const SECTIONS: [&str; 12] = [
        "listen",
        "database",
        "tap",
        "sources",
        "sink",
        "privacy",
        "models",
        "receivers",
        "smtp",
        "canary",
        "route",
        "capture",
    ];
    let mut seen = 0;
    let mut problems = Vec::new();
    for piece in documents().iter().flat_map(|path| pieces(path)).filter(|piece| piece.language == "yaml") {
        let first = piece.text.lines().find(|line| !line.trim_start().starts_with('#')).unwrap_or_default();
        let Some(section) = first.split_once(':').map(|(key, _)| key) else { continue };
        if !SECTIONS.contains(&section) {
            continue;
        }
        seen += 1;
        // A piece may lack what makes it whole, such as the relay of an e-mail receiver.
        match Settings::parse(&piece.text, &piece.place) {
            Ok(_) | Err(SettingsError::Contradiction { .. } | SettingsError::Routing { .. }) => {}
            Err(error) => problems.push(error.to_string()),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(seen > 8, "only {seen} pieces of settings were found");
}
