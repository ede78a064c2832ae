//! `podgate man`: manual pages, of every command one.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use super::{Outcome, layers};

/// Write the manual pages.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  podgate man --dir /usr/local/share/man/man1 && man podgate-run")]
pub(super) struct ManArgs {
    /// The directory, made if need be.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &ManArgs) -> Outcome {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| anyhow::anyhow!("cannot write {path}: {error}")
    };
    fs::create_dir_all(&args.dir).map_err(failed(&args.dir))?;
    let pages = pages()?;
    for (name, text) in &pages {
        let path = args.dir.join(name);
        fs::write(&path, text).map_err(failed(&path))?;
    }
    println!("{} manual pages in {}", pages.len(), args.dir.display());
    Ok(())
}

/// Every page by its file's name. Hidden commands have none.
fn pages() -> Result<Vec<(String, Vec<u8>)>, std::io::Error> {
    let mut command = layers::command().disable_help_subcommand(true);
    // Options that every command takes are on every page.
    command.build();
    let mut pages = Vec::new();
    render(&command, "podgate", &mut pages)?;
    Ok(pages)
}

fn render(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), std::io::Error> {
    let mut text = Vec::new();
    Man::new(command.clone().name(name.to_owned())).render(&mut text)?;
    pages.push((format!("{name}.1"), text));
    let inside = command.get_subcommands().filter(|inside| !inside.is_hide_set());
    inside.into_iter().try_for_each(|inside| render(inside, &format!("{name}-{}", inside.get_name()), pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_says_what_its_help_says() {
        fn walk(command: &Command, name: &str, check: &mut dyn FnMut(&Command, &str)) {
            check(command, name);
            for inside in command.get_subcommands().filter(|inside| !inside.is_hide_set()) {
                walk(inside, &format!("{name}-{}", inside.get_name()), check);
            }
        }
        let pages = pages().unwrap();
        let mut count = 0;
        let mut command = layers::command().disable_help_subcommand(true);
        command.build();
        walk(&command, "podgate", &mut |command, name| {
            count += 1;
            let (_, text) = pages.iter().find(|(file, _)| *file == format!("{name}.1")).expect(name);
            let text = String::from_utf8(text.clone()).unwrap().replace("\\-", "-").replace("\\*(Aq", "'");
            assert!(text.contains(&format!(".TH {name} 1")), "{name}: {text}");
            let about = command.get_about().expect(name).to_string();
            assert!(text.contains(&about), "{name}: {about}\n{text}");
            for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
                let Some(long) = option.get_long() else { continue };
                assert!(text.contains(&format!("--{long}")), "{name}: --{long}");
            }
        });
        assert_eq!(count, pages.len());
        assert!(!pages.iter().any(|(file, _)| file.contains("responder")));
    }
}
