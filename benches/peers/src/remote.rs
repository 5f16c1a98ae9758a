//! A contender in another process of this program: its allocator is another one.
//!
//! The child is told on its standard input when it is its turn, times itself, and answers on its
//! standard output. Between turns it sleeps in a read.

use std::env;
use std::io::{BufRead, BufReader, Write, stdin};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::contest::{Turn, Work};

/// The argument that makes a process of this program serve.
pub(crate) const SERVE: &str = "--serve";

/// A child that serves; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Remote {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Remote {
    /// Starts this program as `name` with a variable in its environment.
    pub(crate) fn start(name: &str, variable: (&str, &str)) -> Result<Self, String> {
        let program = env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args([SERVE, name]).env(variable.0, variable.1);
        Self::launch(&mut command)
    }

    pub(crate) fn launch(command: &mut Command) -> Result<Self, String> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let input = child.stdin.take();
        let output = child.stdout.take().ok_or("no output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One line there and one back.
    pub(crate) fn ask(&mut self, line: &str) -> Result<String, String> {
        let input = self.input.as_mut().ok_or("closed")?;
        writeln!(input, "{line}").map_err(|error| error.to_string())?;
        let mut answer = String::new();
        let length = self.output.read_line(&mut answer);
        match length.map_err(|error| error.to_string())? {
            0 => Err("it has ended".into()),
            _ => Ok(answer.trim().to_owned()),
        }
    }

    /// Its turns, once it has said that it is ready.
    pub(crate) fn work(mut self) -> Result<Work, String> {
        let ready = self.ask("ready?")?;
        if ready != "ready" {
            return Err(ready);
        }
        Ok(Box::new(move |check| {
            let answer = self.ask(if check { "check" } else { "turn" });
            let answer = answer.unwrap_or_default();
            let (time, right) = answer.split_once(' ').unwrap_or_default();
            Turn::new(time.parse().unwrap_or(f64::NAN), right == "true")
        }))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        drop(self.input.take());
        // It ends by itself when its input does; nothing can be done if it does not.
        let _ = self.child.wait();
    }
}

/// The child's side: serves until the input ends.
pub(crate) fn serve(mut work: Work) {
    for line in stdin().lines() {
        let Ok(line) = line else { return };
        if line == "ready?" {
            println!("ready");
            continue;
        }
        let turn = work(line == "check");
        println!("{} {}", turn.time, turn.right);
    }
}
