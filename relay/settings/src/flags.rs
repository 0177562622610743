//! The command line: a flag for each key of the programs' own tables.

use crate::{Error, Settings};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use std::marker::PhantomData;
use std::path::PathBuf;

/// Flags as typed. Each is the key of the same name: `base_port` is `--base-port`.
pub struct Flags<S> {
    /// The settings file, if one was named.
    pub config: Option<PathBuf>,
    given: Vec<(&'static str, Vec<String>)>,
    of: PhantomData<S>,
}

impl<S: Settings> Flags<S> {
    pub(crate) fn apply(&self, settings: &mut S) -> Result<(), Error> {
        let mut keys = settings.keys();
        for (name, values) in &self.given {
            for key in keys.iter_mut().filter(|key| key.is_flag() && key.name == *name) {
                key.set(&format!("--{}", long(name)), Ok(values.clone()))?;
            }
        }
        Ok(())
    }
}

fn long(name: &str) -> String {
    name.replace('_', "-")
}

impl<S: Settings> Args for Flags<S> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config").long("config").value_name("FILE").global(true);
        let config = config
            .value_parser(value_parser!(PathBuf))
            .help("Settings file [default: ringvox.toml in the current directory, if there is one]");
        let mut settings = S::default();
        let keys = settings.keys().into_iter().filter(|key| key.is_flag());
        command.arg(config).args(keys.map(|key| {
            let (help, long_help) = key.help();
            // What both programs need is needed by subcommands too. How often a flag may stand there is the
            // key's business.
            let arg = Arg::new(key.name).long(long(key.name)).value_name(key.form).global(key.shared);
            arg.action(ArgAction::Append).help(help).long_help(long_help)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Settings> FromArgMatches for Flags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut settings = S::default();
        let keys = settings.keys().into_iter().filter(|key| key.is_flag());
        let given = keys.filter_map(|key| {
            let values = matches.get_many::<String>(key.name)?;
            Some((key.name, values.cloned().collect()))
        });
        let given = given.collect();
        Ok(Self { config: matches.get_one("config").cloned(), given, of: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
