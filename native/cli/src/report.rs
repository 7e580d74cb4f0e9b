//! `accept-queue report`: a recording as one self-contained HTML page.

mod bins;
mod bounded;
mod evidence;
mod timeline;
mod track;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::args::ReportOptions;
use crate::condition::many;
use crate::output::{self, refusal};
use crate::recording::{EntryReader, MAGIC};
use crate::whole_file::Target;
use timeline::Timeline;

/// Its script draws the JSON text that takes the place of [`PLACE`].
const PAGE: &str = include_str!("report/page.html");
const PLACE: &str = "{{timeline}}";

pub(crate) fn run(options: &ReportOptions) -> Result<(), String> {
    if let Some(output) = &options.output
        && is_same(&options.file, output)
    {
        return Err(format!("-o {}: is the recording itself", shown(output)));
    }
    let target = options.output.as_deref().map(|path| Target::check("-o", path)).transpose()?;
    let page = page(&read(&options.file)?)?;
    match target {
        Some(target) => target.write(page.as_bytes()),
        None => output::print(page.as_bytes()),
    }
}

fn is_same(file: &Path, other: &Path) -> bool {
    let place = |path: &Path| path.metadata().map(|status| (status.dev(), status.ino())).ok();
    place(file).is_some_and(|file| place(other) == Some(file))
}

fn read(path: &Path) -> Result<Timeline, String> {
    let shown = shown(path);
    let failed = |error: io::Error| format!("{shown}: {}", refusal(&error));
    let file = File::open(path).map_err(failed)?;
    let status = file.metadata().map_err(failed)?;
    if status.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let mut from = BufReader::new(file);
    let source = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut timeline = Timeline::new(source);
    let begins_with = |bytes: &[u8], other: &[u8]| bytes.iter().zip(other).all(|(one, other)| one == other);
    match from.fill_buf().map_err(failed)? {
        [] => return Err(format!("{shown}: is empty")),
        bytes if bytes[0] == MAGIC[0] && begins_with(bytes, &MAGIC) => {}
        bytes if bytes.starts_with(&MAGIC[..MAGIC.len() - 1]) => {
            return Err(format!("{shown}: is a recording of a version that this program does not know"));
        }
        [b'{', ..] => {
            let mut text = Vec::new();
            from.take(evidence::LARGEST + 1).read_to_end(&mut text).map_err(failed)?;
            let file = evidence::read(&text).map_err(|reason| format!("{shown}: {reason}"))?;
            file.entries.into_iter().for_each(|entry| timeline.add(entry));
            timeline.found(file.found);
            return Ok(timeline.finish(0));
        }
        _ => return Err(format!("{shown}: is neither a recording nor an evidence file")),
    }
    let mut name = [0; MAGIC.len()];
    from.read_exact(&mut name).map_err(|_| format!("{shown}: nothing is recorded in it"))?;
    let mut entries = EntryReader::new(&mut from);
    while let Some(entry) = entries.next().map_err(failed)? {
        timeline.add(entry);
    }
    let whole = entries.whole();
    if timeline.is_empty() {
        return Err(format!("{shown}: nothing is recorded in it"));
    }
    // It may have grown meanwhile: a recorder may be writing.
    let all = from.into_inner().metadata().map_err(failed)?.len().min(status.len());
    let torn = all.saturating_sub(whole);
    if torn > 0 {
        eprintln!("accept-queue: {shown}: the last {} are an incomplete entry, and are left out.", many(torn, "byte"));
    }
    Ok(timeline.finish(torn))
}

fn page(timeline: &Timeline) -> Result<String, String> {
    let json = serde_json::to_string(timeline).map_err(|error| format!("a timeline is no JSON: {error}"))?;
    // No text in it can end the script element, or begin another.
    let json = json.replace('<', "\\u003c");
    let (before, after) = PAGE.split_once(PLACE).ok_or("the page has no place for the timeline")?;
    Ok([before, &json, after].concat())
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}
