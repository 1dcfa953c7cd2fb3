//! The command line as its users see it: every command run as a process, on a store and a home of its own.

mod builds;
mod images;
mod outputs;
mod run;
mod terminal;
mod usage;
mod world;
