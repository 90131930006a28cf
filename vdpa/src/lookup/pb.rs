//! What is generated from the files in `proto/`. `tests/generated.rs` does it, and says when it is due.

#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
#[allow(clippy::pedantic, clippy::restriction, clippy::nursery, reason = "generated")]
pub(super) mod vdpadpdk {
    include!("pb/vdpadpdk.rs");
}

#[allow(missing_docs, unreachable_pub, unused_qualifications, reason = "generated")]
#[allow(clippy::pedantic, clippy::restriction, clippy::nursery, reason = "generated")]
pub(super) mod devices {
    include!("pb/ringport.vdpa.v1.rs");
}
