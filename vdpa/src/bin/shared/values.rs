//! Values of options: permissions, users, groups.

use nix::unistd::{Group, User};

pub(crate) fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("permissions are octal, such as 660".into()),
    }
}

pub(crate) fn user(text: &str) -> Result<u32, String> {
    let named = || User::from_name(text).ok().flatten().map(|user| user.uid.as_raw());
    text.parse().ok().or_else(named).ok_or_else(|| "there is no such user".into())
}

pub(crate) fn group(text: &str) -> Result<u32, String> {
    let named = || Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw());
    text.parse().ok().or_else(named).ok_or_else(|| "there is no such group".into())
}
