//! `accept-queue report`: a recording as one self-contained HTML page.

mod bins;
mod bounded;
mod evidence;
mod ranking;
mod timeline;
mod track;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::args::ReportOptions;
use crate::condition::many;
use crate::json;
use crate::output::{self, is_standard, refusal};
use crate::recording::{EntryReader, MAGIC};
use crate::whole_file::Target;
use ranking::Ranking;
use timeline::Timeline;

/// Its script draws the JSON text that takes the place of [`PLACE`].
const PAGE: &str = include_str!("report/page.html");
const PLACE: &str = "{{timeline}}";

pub(crate) fn run(options: &ReportOptions) -> Result<(), String> {
    if let Some(output) = &options.output
        && !is_standard(output)
        && is_same(&options.file, output)
    {
        return Err(format!("-o {}: is the recording itself", shown(output)));
    }
    let target = options.output.as_deref().map(|path| Target::check("-o", path)).transpose()?;
    let page = page(&read(&options.file)?)?;
    match target {
        Some(target) => target.write(&page),
        None => output::print(&page),
    }
}

fn is_same(file: &Path, other: &Path) -> bool {
    let place = |path: &Path| path.metadata().map(|status| (status.dev(), status.ino())).ok();
    place(file).is_some_and(|file| place(other) == Some(file))
}

fn read(path: &Path) -> Result<Timeline, String> {
    let shown = shown(path);
    let failed = |error: io::Error| format!("{shown}: {}", refusal(&error));
    let file = if is_standard(path) { standard_input() } else { File::open(path) }.map_err(failed)?;
    let status = file.metadata().map_err(failed)?;
    if status.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let mut from = BufReader::new(file);
    let source = match is_standard(path) {
        true => shown.clone(),
        false => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let mut ranking = Ranking::default();
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
            let refused = |reason| format!("{shown}: {reason}");
            evidence::read(&text, |entry| ranking.add(entry)).map_err(refused)?;
            let mut timeline = Timeline::new(source, ranking.choose());
            let found = evidence::read(&text, |entry| timeline.add(entry)).map_err(refused)?;
            timeline.found(found);
            return Ok(timeline.finish(0));
        }
        _ => return Err(format!("{shown}: is neither a recording nor an evidence file")),
    }
    if !status.is_file() {
        return Err(format!("{shown}: a recording is read twice, and this is no file"));
    }
    let mut name = [0; MAGIC.len()];
    from.read_exact(&mut name).map_err(|_| format!("{shown}: nothing is recorded in it"))?;
    let mut entries = EntryReader::new(&mut from);
    while let Some(entry) = entries.next().map_err(failed)? {
        ranking.add(entry);
    }
    let whole = entries.whole();
    // What is drawn is known only at its end, so it is read again, and no further: it may have grown meanwhile.
    from.seek(SeekFrom::Start(MAGIC.len() as u64)).map_err(failed)?;
    let mut timeline = Timeline::new(source, ranking.choose());
    let mut entries = EntryReader::new(from.by_ref().take(whole - MAGIC.len() as u64));
    while let Some(entry) = entries.next().map_err(failed)? {
        timeline.add(entry);
    }
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
