//! `accept-queue report`: a recording as one self-contained HTML page.

mod bins;
mod bounded;
mod choice;
mod clock;
mod evidence;
mod ranking;
mod timeline;
mod track;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;

use crate::args::ReportOptions;
use crate::condition::many;
use crate::json;
use crate::output::{self, is_standard, refusal};
use crate::recording::{Entry, EntryReader, MAGIC};
use crate::usage;
use crate::whole_file::Target;
use choice::Choice;
use clock::Clock;
use evidence::Found;
use ranking::Ranking;
use timeline::Timeline;

/// Its script draws the JSON text that takes the place of [`PLACE`].
const PAGE: &str = include_str!("report/page.html");
const PLACE: &str = "{{timeline}}";

/// Why there is no page.
enum Refusal {
    /// The command line says what cannot be.
    Called(String),
    Failed(String),
}

impl From<String> for Refusal {
    fn from(reason: String) -> Refusal {
        Refusal::Failed(reason)
    }
}

pub(crate) fn run(options: &ReportOptions) -> Result<ExitCode, String> {
    match write(options) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Refusal::Called(reason)) => Ok(usage::refused(&clap::Error::raw(ErrorKind::ValueValidation, reason))),
        Err(Refusal::Failed(reason)) => Err(reason),
    }
}

fn write(options: &ReportOptions) -> Result<(), Refusal> {
    if let Some(output) = &options.output
        && !is_standard(output)
        && is_same(&options.file, output)
    {
        return Err(Refusal::Failed(format!("-o {}: is the recording itself", shown(output))));
    }
    let target = options.output.as_deref().map(|path| Target::check("-o", path)).transpose()?;
    let page = page(&read(options)?)?;
    match target {
        Some(target) => target.write(&page)?,
        None => output::print(&page)?,
    }
    Ok(())
}

fn is_same(file: &Path, other: &Path) -> bool {
    let place = |path: &Path| path.metadata().map(|status| (status.dev(), status.ino())).ok();
    place(file).is_some_and(|file| place(other) == Some(file))
}

fn read(options: &ReportOptions) -> Result<Timeline, Refusal> {
    let path = &options.file;
    let shown = shown(path);
    let refused = |reason: String| format!("{shown}: {reason}");
    let mut source = Source::open(path).map_err(refused)?;
    let end = if Choice::needs_end(options) {
        let mut clock = Clock::default();
        let follow = |entry| {
            clock.follow(&entry);
        };
        source.each(follow).map_err(refused)?;
        clock.span().map_or(0, |(_, end)| end)
    } else {
        0
    };
    let choice = Choice::new(options, end).map_err(Refusal::Called)?;
    let mut ranking = Ranking::new(choice.clone());
    source.each(|entry| ranking.add(entry)).map_err(refused)?;
    if let Some(reason) = choice.refusal(&ranking) {
        return Err(Refusal::Failed(refused(reason)));
    }
    let span = ranking.span();
    let name = match is_standard(path) {
        true => shown.clone(),
        false => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let mut timeline = Timeline::new(name, choice, ranking.choose());
    // What is drawn is known only at its end, so it is read again.
    let found = source.each(|entry| timeline.add(entry)).map_err(refused)?;
    if timeline.is_empty() {
        return Err(Refusal::Failed(refused("nothing is recorded in it".to_owned())));
    }
    timeline.found(found);
    let torn = source.torn().map_err(refused)?;
    if torn > 0 {
        eprintln!("accept-queue: {shown}: the last {} are an incomplete entry, and are left out.", many(torn, "byte"));
    }
    Ok(timeline.finish(torn, span))
}

/// A file that can be read several times, to the same end.
enum Source {
    Evidence(Vec<u8>),
    Recording {
        from: BufReader<File>,
        /// When it was opened.
        length: u64,
        /// Up to the last intact entry, once that is known.
        whole: Option<u64>,
    },
}

impl Source {
    fn open(path: &Path) -> Result<Source, String> {
        let failed = |error: io::Error| refusal(&error);
        let file = if is_standard(path) { standard_input() } else { File::open(path) }.map_err(failed)?;
        let status = file.metadata().map_err(failed)?;
        if status.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let mut from = BufReader::new(file);
        let begins_with = |bytes: &[u8], other: &[u8]| bytes.iter().zip(other).all(|(one, other)| one == other);
        match from.fill_buf().map_err(failed)? {
            [] => return Err("is empty".to_owned()),
            bytes if bytes[0] == MAGIC[0] && begins_with(bytes, &MAGIC) => {}
            bytes if bytes.starts_with(&MAGIC[..MAGIC.len() - 1]) => {
                return Err("is a recording of a version that this program does not know".to_owned());
            }
            [b'{', ..] => {
                let mut text = Vec::new();
                from.take(evidence::LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
                return Ok(Source::Evidence(text));
            }
            _ => return Err("is neither a recording nor an evidence file".to_owned()),
        }
        if !status.is_file() {
            return Err("a recording is read twice, and this is no file".to_owned());
        }
        Ok(Source::Recording { from, length: status.len(), whole: None })
    }

    /// Each entry from the first on, and then what was found. A recording that has grown meanwhile is read as far as at first.
    fn each(&mut self, mut add: impl FnMut(Entry)) -> Result<Option<Found>, String> {
        let failed = |error: io::Error| refusal(&error);
        let (from, whole) = match self {
            Source::Evidence(text) => return evidence::read(text, add).map(Some),
            Source::Recording { from, whole, .. } => (from, whole),
        };
        from.rewind().map_err(failed)?;
        let mut name = [0; MAGIC.len()];
        from.read_exact(&mut name).map_err(|_| "nothing is recorded in it")?;
        let most = whole.map_or(u64::MAX, |whole| whole - MAGIC.len() as u64);
        let mut entries = EntryReader::new(from.take(most));
        while let Some(entry) = entries.next().map_err(failed)? {
            add(entry);
        }
        *whole = whole.or(Some(entries.whole()));
        Ok(None)
    }

    /// Bytes at its end that are no intact entry.
    fn torn(&self) -> Result<u64, String> {
        let Source::Recording { from, length, whole } = self else { return Ok(0) };
        let now = from.get_ref().metadata().map_err(|error| refusal(&error))?.len();
        // It may have grown meanwhile: a recorder may be writing.
        Ok(now.min(*length).saturating_sub(whole.unwrap_or(0)))
    }
}

/// A recording is read twice, so what comes by a pipe is kept meanwhile, in a file without a name.
fn standard_input() -> io::Result<File> {
    let mut kept = tempfile::tempfile()?;
    io::copy(&mut io::stdin().lock(), &mut kept)?;
    kept.rewind()?;
    Ok(kept)
}

fn page(timeline: &Timeline) -> Result<Vec<u8>, String> {
    let (before, after) = PAGE.split_once(PLACE).ok_or("the page has no place for the timeline")?;
    let mut page = Vec::from(before);
    json::write(timeline, &mut page).map_err(|error| format!("a timeline is no JSON: {error}"))?;
    page.extend(after.as_bytes());
    Ok(page)
}

fn shown(path: &Path) -> String {
    if is_standard(path) {
        return "standard input".to_owned();
    }
    path.to_string_lossy().escape_debug().to_string()
}
