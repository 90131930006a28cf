//! Devices that answer commands with anything, late or never, or break the ring of the control queue:
//! the driver says what became of the command, and packets go on.
//!
//! Spec: VIRTIO 1.3 §5.1.6.5.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod frontend_support;

use frontend_support::back_config;
use frontend_support::fake::{End, Fake, config, next};
use ringport::error::QueueError;
use ringport_vhost_user::backend::{BackendConfig, RingOffer};
use ringport_vhost_user::driver::{Event, Link};
use ringport_vhost_user::error::CommandError;
use ringport_vhost_user::wire::{Command, feature};
use ringport_vhost_user::{ControlError, DeviceError, Driver, DriverConfig};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ALL: u64 = feature::CTRL_VQ | feature::CTRL_RX | feature::CTRL_VLAN | feature::CTRL_MAC_ADDR;

/// A driver with a control queue on a split ring, and a device that does with it as it likes.
struct Scene {
    driver: Driver,
    link: Box<Link>,
    fake: Fake,
    ring: RingOffer,
    memory: File,
    /// Front-end address of its first byte.
    start: u64,
    used: u16,
}

impl Scene {
    fn new(timeout: Duration) -> Self {
        let features = (back_config().features | ALL) & !feature::RING_PACKED;
        let back = BackendConfig { features, control_ring: true, ..back_config() };
        let (mut fake, socket) = Fake::new(back);
        let config = DriverConfig { control: true, timeout, ..config() };
        let mut driver = Driver::from_socket(socket, config).unwrap();
        let Event::LinkUp(link) = next(&mut driver, &mut fake, End::Never) else {
            panic!("no link")
        };
        let ring = fake.rings.pop().unwrap();
        assert_eq!((ring.index, ring.size, fake.memory.len()), (4, 64, 2));
        let memory = fake.memory.pop().unwrap();
        let start = memory.region.user_address;
        Self { driver, link, fake, ring, memory: memory.fd.into(), start, used: 0 }
    }

    /// A command that the device sees.
    #[track_caller]
    fn give(&mut self) {
        self.driver.command(&Command::AddVlan(0x0102)).unwrap();
        let at = self.answer_place().0;
        let mut bytes = [0; 4];
        self.memory.read_exact_at(&mut bytes, at).unwrap();
        assert_eq!(bytes, [2, 0, 2, 1], "the command");
    }

    /// Where the command is, and where the answer goes.
    fn answer_place(&self) -> (u64, u64) {
        let len = self.memory.metadata().unwrap().len();
        (len - 8192, len - 4096)
    }

    fn write_answer(&self, answer: u8) {
        self.memory.write_all_at(&[answer], self.answer_place().1).unwrap();
    }

    /// Gives a chain back, whatever it is, and calls.
    fn give_back(&mut self, id: u32, len: u32) {
        let device = self.ring.addresses.device_area - self.start;
        let at = device + 4 + 8 * u64::from(self.used % 64);
        self.memory.write_all_at(&[id, len].map(u32::to_le_bytes).concat(), at).unwrap();
        self.used = self.used.wrapping_add(1);
        self.publish(self.used);
    }

    fn publish(&self, index: u16) {
        let device = self.ring.addresses.device_area - self.start;
        self.memory.write_all_at(&index.to_le_bytes(), device + 2).unwrap();
        self.call();
    }

    fn call(&self) {
        let call = self.ring.call.as_ref().unwrap();
        nix::unistd::write(call, &1u64.to_ne_bytes()).unwrap();
    }

    #[track_caller]
    fn done(&mut self) -> Result<(), CommandError> {
        match next(&mut self.driver, &mut self.fake, End::Never) {
            Event::CommandDone(done) => done,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check_lost(&mut self) {
        let refused = self.driver.command(&Command::AddVlan(1));
        let lost = ControlError::OutOfOrder { call: "command" };
        assert!(matches!(refused, Err(DeviceError::Control(why)) if why == lost));
        self.check_link();
    }

    #[track_caller]
    fn check_link(&mut self) {
        for _ in 0..20 {
            self.fake.serve(End::Never);
            let event = self.driver.poll(Some(Duration::from_millis(1))).unwrap();
            assert!(event.is_none(), "{event:?}");
        }
        assert!(self.link.rx[0].rx_burst(1).unwrap().is_empty());
        assert!(self.link.tx[0].tx_burst(1).unwrap().push(&[0; 60]).is_ok());
    }
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn answer_of_the_device_is_what_is_told_of_the_command() {
    let mut scene = Scene::new(LONG);
    let expected = [
        (0, Ok(())),
        (1, Err(CommandError::Refused)),
        (2, Err(CommandError::Answer { answer: 2 })),
        (0xff, Err(CommandError::Answer { answer: 0xff })),
    ];
    for turn in 0..40u32 {
        let (answer, told) = expected[turn as usize % 4];
        scene.give();
        scene.write_answer(answer);
        scene.give_back(2 * turn % 64, u32::from(turn % 2 == 0));
        assert_eq!(scene.done(), told);
    }
    scene.check_link();
}

#[test]
fn device_that_breaks_the_ring_of_commands_loses_commands_only() {
    let cases = [
        (64, 1, QueueError::NoSuchDescriptor { index: 64, entries: 64 }),
        (0x1_0000, 1, QueueError::NoSuchDescriptor { index: 0xffff, entries: 64 }),
        (1, 1, QueueError::NotInFlight { id: 1 }),
        (0, 2, QueueError::LengthExceedsBuffer { len: 2, capacity: 1 }),
    ];
    for (id, len, error) in cases {
        let mut scene = Scene::new(LONG);
        scene.give();
        scene.write_answer(0);
        scene.give_back(id, len);
        assert_eq!(scene.done(), Err(CommandError::Broken(error)));
        scene.check_lost();
    }
    let mut scene = Scene::new(LONG);
    scene.give();
    scene.publish(2);
    assert!(matches!(scene.done(), Err(CommandError::Broken(QueueError::IndexRunaway { .. }))));
    scene.check_lost();
    let mut scene = Scene::new(LONG);
    scene.give();
    scene.give_back(0, 1);
    assert_eq!(scene.done(), Err(CommandError::Answer { answer: 0xff }));
    scene.publish(0);
    assert!(matches!(scene.done(), Err(CommandError::Broken(_))), "unasked");
    scene.check_lost();
}

#[test]
fn device_that_never_answers_a_command_is_late_with_it_and_keeps_its_link() {
    let mut scene = Scene::new(Duration::from_millis(200));
    scene.give();
    let waited = Duration::from_millis(200);
    assert_eq!(scene.done(), Err(CommandError::Late { waited }));
    scene.check_lost();
    scene.write_answer(0);
    scene.give_back(0, 1);
    scene.check_lost();
}

#[test]
fn calls_without_an_answer_hold_nobody_up() {
    let mut scene = Scene::new(Duration::from_millis(500));
    let call = scene.ring.call.as_ref().unwrap().try_clone().unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = nix::unistd::write(&call, &1u64.to_ne_bytes());
            }
        });
        let start = Instant::now();
        scene.give();
        let done = scene.done();
        stop.store(true, Ordering::Relaxed);
        assert!(matches!(done, Err(CommandError::Late { .. })), "{done:?}");
        assert!(start.elapsed() < Duration::from_secs(20));
    });
    scene.check_lost();
}
