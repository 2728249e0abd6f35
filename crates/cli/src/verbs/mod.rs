//! The verbs, one file each.

mod attach;
mod cleanup;
mod completion;
mod control;
mod create;
pub(crate) mod exec;
mod from_host;
mod history;
mod image_prune;
mod images;
mod import;
mod inspect;
mod load;
mod login;
mod logout;
mod logs;
pub(crate) mod ps;
mod pull;
mod push;
mod rename;
pub(crate) mod rm;
mod rmi;
mod rootfs;
pub(crate) mod run;
mod save;
mod start;
mod tag;
mod top;
mod wait;

use clap::Subcommand;

use crate::{Failed, Global, Outcome, tell};

/// The verbs of `sampan`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Create and run a new container from an image
    Run(run::Args),
    /// Run a command in a running container
    Exec(exec::Args),
    /// List containers
    #[command(visible_alias = "list")]
    Ps(ps::Args),
    /// Create a container without starting it
    Create(create::Args),
    /// Start stopped containers
    Start(start::Args),
    /// Stop running containers
    Stop(control::Stop),
    /// Restart containers
    Restart(control::Restart),
    /// Send a signal to running containers
    Kill(control::Kill),
    /// Freeze all processes of containers
    Pause(control::Pause),
    /// Let frozen containers go on
    Unpause(control::Unpause),
    /// Remove containers
    Rm(rm::Args),
    /// Show a container's output
    Logs(logs::Args),
    /// Join a running container's streams
    Attach(attach::Args),
    /// Wait until containers end, and print their exit codes
    Wait(wait::Args),
    /// Show a container's processes
    Top(top::Args),
    /// Give a container another name
    Rename(rename::Args),
    /// Show everything about containers and images, as JSON
    Inspect(inspect::Args),
    /// Get an image from a registry
    Pull(pull::Args),
    /// Send an image to a registry
    Push(push::Args),
    /// Remember who asks a registry
    Login(login::Args),
    /// Forget it
    Logout(logout::Args),
    /// List images
    Images(images::Args),
    /// Remove images
    Rmi(rmi::Args),
    /// Give an image another name
    Tag(tag::Args),
    /// Show how an image was made
    History(history::Args),
    /// Write images into an archive, for load, docker load and others
    Save(save::Args),
    /// Make the images of an archive
    Load(load::Args),
    /// Write a root file system of the host's own programs into a directory
    Rootfs(rootfs::Args),
    /// Manage containers
    #[command(subcommand)]
    Container(ContainerVerb),
    /// Manage images
    #[command(subcommand)]
    Image(ImageVerb),
    /// Print a completion script for a shell
    Completion(completion::Args),
    /// Write manual pages into a directory
    #[command(hide = true)]
    Man(completion::ManArgs),
    /// Remove what is left of a `--rm` container; monitors call it
    #[command(hide = true)]
    Cleanup(cleanup::Args),
}

/// The verbs of `sampan container`.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerVerb {
    /// Join a running container's streams
    Attach(attach::Args),
    /// Create a container without starting it
    Create(create::Args),
    /// Run a command in a running container
    Exec(exec::Args),
    /// Show everything about containers, as JSON
    Inspect(inspect::Args),
    /// Send a signal to running containers
    Kill(control::Kill),
    /// Show a container's output
    Logs(logs::Args),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(ps::Args),
    /// Freeze all processes of containers
    Pause(control::Pause),
    /// Give a container another name
    Rename(rename::Args),
    /// Restart containers
    Restart(control::Restart),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
    /// Create and run a new container from an image
    Run(run::Args),
    /// Start stopped containers
    Start(start::Args),
    /// Stop running containers
    Stop(control::Stop),
    /// Show a container's processes
    Top(top::Args),
    /// Let frozen containers go on
    Unpause(control::Unpause),
    /// Wait until containers end, and print their exit codes
    Wait(wait::Args),
}

/// The verbs of `sampan image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// List images
    #[command(visible_alias = "list")]
    Ls(images::Args),
    /// Remove images
    Rm(rmi::Args),
    /// Give an image another name
    Tag(tag::Args),
    /// Get an image from a registry
    Pull(pull::Args),
    /// Send an image to a registry
    Push(push::Args),
    /// Show everything about images, as JSON
    Inspect(inspect::Args),
    /// Make an image of the host's own programs and the libraries they load
    FromHost(from_host::Args),
    /// Make an image of a root file system's tarball
    Import(import::Args),
    /// Show how an image was made
    History(history::Args),
    /// Write images into an archive, for load, docker load and others
    Save(save::Args),
    /// Make the images of an archive
    Load(load::Args),
    /// Remove images that nobody needs
    Prune(image_prune::Args),
}

impl Verb {
    /// Carries the verb out.
    pub(crate) fn run(self, global: &Global) -> Outcome {
        if !self.is_attached() {
            // A reader that left early ends this program, as it does other programs; not a container's foreground.
            linux::signals::default_sigpipe();
        }
        let verb = match self {
            Verb::Completion(args) => return args.run(),
            Verb::Man(args) => return args.run(),
            Verb::Login(args) => return args.run(),
            Verb::Logout(args) => return args.run(),
            Verb::Container(verb) => return verb.run(global),
            Verb::Image(verb) => return verb.run(global),
            other => other,
        };
        let engine = &global.engine()?;
        match verb {
            Verb::Run(args) => args.run(engine),
            Verb::Exec(args) => args.run(engine),
            Verb::Ps(args) => args.run(engine),
            Verb::Create(args) => args.run(engine),
            Verb::Start(args) => args.run(engine),
            Verb::Stop(args) => args.run(engine),
            Verb::Restart(args) => args.run(engine),
            Verb::Kill(args) => args.run(engine),
            Verb::Pause(args) => args.run(engine),
            Verb::Unpause(args) => args.run(engine),
            Verb::Rm(args) => args.run(engine),
            Verb::Logs(args) => args.run(engine),
            Verb::Attach(args) => args.run(engine),
            Verb::Wait(args) => args.run(engine),
            Verb::Top(args) => args.run(engine),
            Verb::Rename(args) => args.run(engine),
            Verb::Inspect(args) => args.run(engine, inspect::Kind::Any),
            Verb::Pull(args) => args.run(engine.images()?),
            Verb::Push(args) => args.run(engine.images()?),
            Verb::Images(args) => args.run(engine.images()?),
            Verb::Rmi(args) => args.run(engine),
            Verb::Tag(args) => args.run(engine.images()?),
            Verb::History(args) => args.run(engine.images()?),
            Verb::Save(args) => args.run(engine.images()?),
            Verb::Load(args) => args.run(engine.images()?),
            Verb::Rootfs(args) => args.run(engine.images()?),
            Verb::Cleanup(args) => args.run(engine),
            Verb::Completion(_) | Verb::Man(_) | Verb::Login(_) | Verb::Logout(_) => Ok(0),
            Verb::Container(_) | Verb::Image(_) => Ok(0),
        }
    }
}

impl Verb {
    /// Whether it may copy a container's streams.
    fn is_attached(&self) -> bool {
        use ContainerVerb as Inner;
        matches!(
            self,
            Verb::Run(_)
                | Verb::Exec(_)
                | Verb::Start(_)
                | Verb::Attach(_)
                | Verb::Container(Inner::Run(_) | Inner::Exec(_) | Inner::Start(_) | Inner::Attach(_))
        )
    }
}

impl ContainerVerb {
    fn run(self, global: &Global) -> Outcome {
        let verb = match self {
            Self::Attach(args) => Verb::Attach(args),
            Self::Create(args) => Verb::Create(args),
            Self::Exec(args) => Verb::Exec(args),
            Self::Inspect(args) => return args.run(&global.engine()?, inspect::Kind::Container),
            Self::Kill(args) => Verb::Kill(args),
            Self::Logs(args) => Verb::Logs(args),
            Self::Ls(args) => Verb::Ps(args),
            Self::Pause(args) => Verb::Pause(args),
            Self::Rename(args) => Verb::Rename(args),
            Self::Restart(args) => Verb::Restart(args),
            Self::Rm(args) => Verb::Rm(args),
            Self::Run(args) => Verb::Run(args),
            Self::Start(args) => Verb::Start(args),
            Self::Stop(args) => Verb::Stop(args),
            Self::Top(args) => Verb::Top(args),
            Self::Unpause(args) => Verb::Unpause(args),
            Self::Wait(args) => Verb::Wait(args),
        };
        verb.run(global)
    }
}

impl ImageVerb {
    fn run(self, global: &Global) -> Outcome {
        let engine = &global.engine()?;
        match self {
            Self::Ls(args) => args.run(engine.images()?),
            Self::Rm(args) => args.run(engine),
            Self::Tag(args) => args.run(engine.images()?),
            Self::Pull(args) => args.run(engine.images()?),
            Self::Push(args) => args.run(engine.images()?),
            Self::Inspect(args) => args.run(engine, inspect::Kind::Image),
            Self::FromHost(args) => args.run(engine.images()?),
            Self::Import(args) => args.run(engine.images()?),
            Self::History(args) => args.run(engine.images()?),
            Self::Save(args) => args.run(engine.images()?),
            Self::Load(args) => args.run(engine.images()?),
            Self::Prune(args) => args.run(engine),
        }
    }
}

/// Does something with each of several things. What fails is told at once and does not keep the others from it; the exit
/// code is then 1.
pub(crate) fn each(names: &[String], mut act: impl FnMut(&str) -> Result<(), Failed>) -> Outcome {
    let mut code = 0;
    for name in names {
        if let Err(failed) = act(name) {
            tell(&*failed.fault);
            code = 1;
        }
    }
    Ok(code)
}
