use super::super::replace::temporary_of;
use super::*;
use std::{fs, io};

const TWO: &str = r#"[{
    "pciAddress": "0000:82:00.2",
    "socketpath": "/var/run/vdpa/vhost/vdpa-0"
}, {
    "pciAddress": "0000:82:00.3",
    "socketpath": "/var/run/vdpa/vhost/vdpa-1"
}]
"#;

fn entry(address: &str, path: &str) -> Entry {
    Entry::new(address.parse().unwrap(), path).unwrap()
}

fn two() -> Vec<Entry> {
    vec![
        entry("0000:82:00.2", "/var/run/vdpa/vhost/vdpa-0"),
        entry("0000:82:00.3", "/var/run/vdpa/vhost/vdpa-1"),
    ]
}

#[test]
fn list_is_written_in_its_form_and_read_back() {
    assert_eq!(show(&two()), TWO);
    assert_eq!(parse(TWO.as_bytes()).unwrap(), two());
    assert_eq!(show(&[]), "[]\n");
    assert_eq!(parse(b"[]\n").unwrap(), []);
}

#[test]
fn path_with_quotes_survives() {
    let odd = [entry("82:00.2", r#"/a"b\c"#)];
    assert_eq!(parse(show(&odd).as_bytes()).unwrap(), odd);
}

#[test]
fn other_spellings_of_the_same_are_read() {
    let text = r#"[{"socketpath":"/var/run/vdpa/vhost/vdpa-0","pciAddress":"82:00.2"},
        {"pciAddress":"0000:82:00.3","socketpath":"\u002fvar/run/vdpa/vhost/vdpa-1"}]"#;
    assert_eq!(parse(text.as_bytes()).unwrap(), two());
}

#[test]
fn what_is_no_list_is_refused_with_the_entry() {
    let cases = [
        ("", None, "EOF"),
        ("{}", None, "expected a sequence"),
        ("null", None, "expected a sequence"),
        ("[", None, "EOF"),
        ("]\n", None, "line 1 column 1"),
        (TWO.trim_end().trim_end_matches(']'), None, "EOF"),
        (&format!("{TWO}{TWO}"), None, "after the list"),
        ("[1]", Some(1), "expected struct"),
        ("[{}]", Some(1), "missing field `pciAddress`"),
        (r#"[{"pciAddress":"82:00.2"}]"#, Some(1), "missing field `socketpath`"),
        (&TWO.replace("00.3", "00.9"), Some(2), "pciAddress: \"0000:82:00.9\" is no PCI address"),
        (&TWO.replace("\"0000:82:00.3\"", "7"), Some(2), "pciAddress: invalid type: integer `7`"),
        (&TWO.replace("\"/var/run/vdpa/vhost/vdpa-1\"", "null"), Some(2), "socketpath: invalid"),
        (&TWO.replace("/var/run/vdpa/vhost/vdpa-1", ""), Some(2), "path is empty"),
        (&TWO.replace("/var/run/vdpa/vhost/vdpa-1", "vdpa-1"), Some(2), "begin with /"),
        (&TWO.replace("vdpa-1", "\\u0007"), Some(2), "control"),
        (&TWO.replace("vdpa-1", &"1".repeat(100)), Some(2), "107 bytes"),
        (&TWO.replace("00.3", "00.2"), Some(2), "0000:82:00.2 is in entry 1 already"),
        (&TWO.replace("vdpa-1", "vdpa-0"), Some(2), "vdpa-0 is in entry 1 already"),
        (
            r#"[{"pciAddress":"82:00.2","socketpath":"/a","mac":"52:54:00:00:00:01"}]"#,
            Some(1),
            "unknown field `mac`",
        ),
        (
            r#"[{"pciAddress":"82:00.2","pciAddress":"82:00.3","socketpath":"/a"}]"#,
            Some(1),
            "duplicate field",
        ),
    ];
    for (text, at, why) in cases {
        let error = parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.place, at.map(Place::Entry), "{text}: {error}");
        assert!(error.to_string().contains(why), "{text}: {error}");
    }
    assert!(parse(b"[\"\xff\"]").is_err());
    assert!(parse("[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn error_names_file_entry_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socketList.dat");
    fs::write(&path, TWO.replace("0000:82:00.3", "3")).unwrap();
    let error = load(&path).unwrap_err().to_string();
    let start = format!("{}: entry 2: pciAddress: \"3\" is no PCI address", path.display());
    assert!(error.starts_with(&start), "{error}");
}

#[test]
fn file_is_replaced_whole_and_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socketList.dat");
    fs::write(temporary_of(&path), "what a kill left").unwrap();
    store(&path, &two()[..1]).unwrap();
    let old = fs::File::open(&path).unwrap();
    store(&path, &two()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), TWO);
    // Who had it open reads on in the old one.
    assert_eq!(io::read_to_string(old).unwrap(), show(&two()[..1]));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn list_that_cannot_be_written_leaves_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socketList.dat");
    store(&path, &two()).unwrap();
    let twice = [two(), two()].concat();
    assert!(matches!(store(&path, &twice), Err(FileError::Content { .. })));
    assert_eq!(load(&path).unwrap(), two());
    let nowhere = dir.path().join("absent/socketList.dat");
    assert!(matches!(store(&nowhere, &two()), Err(FileError::Write { .. })));
    fs::create_dir(dir.path().join("full")).unwrap();
    assert!(matches!(store(&dir.path().join("full"), &two()), Err(FileError::Write { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
}
