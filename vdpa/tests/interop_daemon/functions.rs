//! Devices of each kind side by side, that lose their carriers and their drivers under traffic.

use super::ask::ask;
use super::lab::{Inside, Tier, in_vm};
use super::place::{Place, holds, two_functions, write_soon};
use super::relay_support::{drive_at, eventually, link_up};
use super::traffic::{Other, Traffic};
use ringport_vhost_user::{Driver, driver};
use std::time::Duration;

const ROUNDS: usize = 20;

/// A front-end, with traffic.
struct Busy {
    driver: Driver,
    traffic: Traffic,
}

impl Busy {
    #[track_caller]
    fn at(place: &Place, device: &str, other: Other) -> Self {
        let mut driver = drive_at(&place.socket(device), false);
        let traffic = Traffic::over(link_up(&mut driver), other);
        Self { driver, traffic }
    }

    /// Waits until the link ends, and until there is another.
    #[track_caller]
    fn begins_again(mut self, other: Other, meanwhile: impl FnOnce()) -> Self {
        println!("{}", self.traffic.end(&mut self.driver));
        meanwhile();
        let traffic = Traffic::over(link_up(&mut self.driver), other);
        Self { driver: self.driver, traffic }
    }

    /// Waits until the device says that it has a carrier, or has none.
    #[track_caller]
    fn hears_of_carrier(&mut self, up: bool) {
        eventually(&format!("a carrier: {up}"), || {
            let event = self.driver.poll(Some(Duration::from_millis(10))).unwrap();
            matches!(event, Some(driver::Event::Carrier(now)) if now == up)
        });
    }
}

#[test]
fn devices_of_each_kind_pass_packets_while_others_lose_their_drivers_and_get_them_back() {
    let test = "functions::devices_of_each_kind_pass_packets_while_others_lose_their_drivers_and_get_them_back";
    in_vm(test, Tier::T3, |inside| {
        let [under_vfio, under_vdpa] = &two_functions(inside);
        let place = Place::new();
        let daemon = place.start();
        let before = holds(&daemon);
        place.want(&[under_vfio, under_vdpa]);
        let ways = ["absent - ", "has no driver and no vDPA device", "vdpa dev add", "vfio-pci"];
        place.says(under_vfio, "list", &ways);
        inside.vfio(under_vfio);
        inside.vp_vdpa("vdpa1", under_vdpa);
        let simulated = inside.simulator("sim0", "02:00:00:00:00:99").display().to_string();
        place.tell(&["add", &simulated]);
        place.lists(&[under_vfio, under_vdpa]);
        place.says(under_vfio, "list", &["ready vfio-pci /"]);
        place.says(under_vdpa, "list", &["ready vhost-vdpa /"]);
        assert!(place.tell(&["--json", "list"]).contains(r#""kind":"vfio-pci","kicks":null"#));
        for _ in 0..ROUNDS {
            let mut driver = drive_at(&place.socket(under_vfio), false);
            ask(&mut link_up(&mut driver), 2);
        }

        let links = format!("links={}", ROUNDS + 1);
        let mut vfio = Busy::at(&place, under_vfio, Other::Interface);
        place.says(under_vfio, "stats", &["opened=1 ", &links, "kind=vfio-pci kicks=kernel"]);
        let mut vdpa = Busy::at(&place, under_vdpa, Other::Interface);
        let simulator = Busy::at(&place, &simulated, Other::Simulator);
        for (number, busy) in [(1, &mut vfio), (2, &mut vdpa)] {
            for up in [false, true] {
                inside.set_carrier(number, up);
                busy.hears_of_carrier(up);
            }
            busy.traffic.goes_on();
        }
        let vfio = vfio.loses_its_driver(inside, under_vfio, "vfio-pci", || {
            place.lists(&[under_vdpa]);
            vdpa.traffic.goes_on();
            simulator.traffic.goes_on();
        });
        let vdpa = vdpa.loses_its_driver(inside, under_vdpa, "vp-vdpa", || {
            place.lists(&[under_vfio]);
            vfio.traffic.goes_on();
            simulator.traffic.goes_on();
        });
        place.says(under_vfio, "stats", &["opened=2 given_up=1 "]);
        for busy in [&vfio, &vdpa, &simulator] {
            busy.traffic.goes_on();
        }

        place.want(&[]);
        place.tell(&["remove", &simulated]);
        for Busy { mut driver, traffic } in [vfio, vdpa, simulator] {
            println!("{}", traffic.end(&mut driver));
        }
        eventually(&format!("{before:?} as before"), || holds(&daemon) == before);
        assert_eq!(place.tell(&["list"]), "");
    });
}

impl Busy {
    /// Takes the function from its driver, waits for the end of its link, and gives it back.
    #[track_caller]
    fn loses_its_driver(
        self,
        inside: &Inside,
        function: &str,
        driver: &str,
        meanwhile: impl FnOnce(),
    ) -> Self {
        write_soon(&format!("/sys/bus/pci/drivers/{driver}/unbind"), function);
        self.begins_again(Other::Interface, || {
            meanwhile();
            if driver == "vp-vdpa" {
                inside.vp_vdpa("vdpa1", function);
            } else {
                inside.vfio(function);
            }
        })
    }
}

#[test]
fn functions_that_are_deleted_under_traffic_are_found_again_and_leave_the_others() {
    let test =
        "functions::functions_that_are_deleted_under_traffic_are_found_again_and_leave_the_others";
    in_vm(test, Tier::T3, |inside| {
        let functions = two_functions(inside);
        let [under_vfio, under_vdpa] = &functions;
        let place = Place::new();
        let daemon = place.start_with(&["--discover"]);
        let before = holds(&daemon);
        let simulated = inside.simulator("sim0", "02:00:00:00:00:99").display().to_string();
        let bind = || {
            inside.vfio(under_vfio);
            inside.vp_vdpa("vdpa1", under_vdpa);
            place.says(under_vfio, "list", &[" vfio-pci /"]);
            place.says(under_vdpa, "list", &[" vhost-vdpa /"]);
        };
        bind();
        place.says(&simulated, "list", &["ready vhost-vdpa /"]);
        let [vfio, vdpa] =
            [under_vfio, under_vdpa].map(|it| Busy::at(&place, it, Other::Interface));
        let simulator = Busy::at(&place, &simulated, Other::Simulator);
        let count = format!("/sys/bus/pci/devices/{}/sriov_numvfs", inside.physical_function());
        write_soon(&count, "0");
        place.lists(&[]);
        simulator.traffic.goes_on();
        let vfio = vfio.begins_again(Other::Interface, || {
            assert_eq!(inside.virtual_functions(2), functions);
            bind();
        });
        let vdpa = vdpa.begins_again(Other::Interface, || {});
        simulator.traffic.goes_on();

        write_soon(&count, "0");
        inside.sh("vdpa dev del sim0");
        for Busy { mut driver, traffic } in [vfio, vdpa, simulator] {
            println!("{}", traffic.end(&mut driver));
        }
        eventually(&format!("{before:?} as before"), || holds(&daemon) == before);
    });
}
