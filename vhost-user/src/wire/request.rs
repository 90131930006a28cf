//! The requests of a front-end, by number.

use std::fmt;

/// Writes the enum, its reader and its names from one table.
macro_rules! requests {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)*) => {
        /// A request of the front-end, numbered as on the wire.
        ///
        /// Spec: vhost-user "Front-end message types".
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Request {
            $($(#[$doc])* $name = $number,)*
        }

        impl Request {
            /// Every request, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Reads a number; `None` when it means nothing.
            #[must_use]
            pub fn from_wire(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        impl fmt::Display for Request {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Self::$name => $text,)*
                })
            }
        }
    };
}

requests! {
    /// Which virtio features we offer.
    GetFeatures = 1 "GET_FEATURES",
    /// Which of them the front-end takes.
    SetFeatures = 2 "SET_FEATURES",
    /// The front-end owns this connection.
    SetOwner = 3 "SET_OWNER",
    /// Deprecated: stop and disable all rings.
    ResetOwner = 4 "RESET_OWNER",
    /// The front-end's whole memory.
    SetMemTable = 5 "SET_MEM_TABLE",
    /// Memory for the dirty log.
    SetLogBase = 6 "SET_LOG_BASE",
    /// Eventfd to signal writes to the dirty log.
    SetLogFd = 7 "SET_LOG_FD",
    /// Size of a ring.
    SetVringNum = 8 "SET_VRING_NUM",
    /// Addresses of a ring.
    SetVringAddr = 9 "SET_VRING_ADDR",
    /// Where a ring begins.
    SetVringBase = 10 "SET_VRING_BASE",
    /// Stop a ring, and say where.
    GetVringBase = 11 "GET_VRING_BASE",
    /// Eventfd that the driver writes; starts the ring.
    SetVringKick = 12 "SET_VRING_KICK",
    /// Eventfd that the device writes.
    SetVringCall = 13 "SET_VRING_CALL",
    /// Eventfd for a ring that broke.
    SetVringErr = 14 "SET_VRING_ERR",
    /// Which protocol features we offer.
    GetProtocolFeatures = 15 "GET_PROTOCOL_FEATURES",
    /// Which of them the front-end takes.
    SetProtocolFeatures = 16 "SET_PROTOCOL_FEATURES",
    /// How many queue pairs we have.
    GetQueueNum = 17 "GET_QUEUE_NUM",
    /// Enable or disable a ring.
    SetVringEnable = 18 "SET_VRING_ENABLE",
    /// Announce a guest's address after migration.
    SendRarp = 19 "SEND_RARP",
    /// The guest's MTU.
    NetSetMtu = 20 "NET_SET_MTU",
    /// Socket for our own requests.
    #[doc(alias = "SET_SLAVE_REQ_FD")]
    SetBackendReqFd = 21 "SET_BACKEND_REQ_FD",
    /// Address translations of an IOMMU.
    IotlbMsg = 22 "IOTLB_MSG",
    /// Byte order of a ring.
    SetVringEndian = 23 "SET_VRING_ENDIAN",
    /// Read the configuration space.
    GetConfig = 24 "GET_CONFIG",
    /// Write the configuration space.
    SetConfig = 25 "SET_CONFIG",
    /// Crypto devices only.
    CreateCryptoSession = 26 "CREATE_CRYPTO_SESSION",
    /// Crypto devices only.
    CloseCryptoSession = 27 "CLOSE_CRYPTO_SESSION",
    /// Migration that completes after the switch.
    PostcopyAdvise = 28 "POSTCOPY_ADVISE",
    /// Migration that completes after the switch.
    PostcopyListen = 29 "POSTCOPY_LISTEN",
    /// Migration that completes after the switch.
    PostcopyEnd = 30 "POSTCOPY_END",
    /// Make memory that remembers chains in flight.
    GetInflightFd = 31 "GET_INFLIGHT_FD",
    /// Take that memory back after a reconnect.
    SetInflightFd = 32 "SET_INFLIGHT_FD",
    /// GPU devices only.
    GpuSetSocket = 33 "GPU_SET_SOCKET",
    /// Reset the device, keep the connection.
    ResetDevice = 34 "RESET_DEVICE",
    /// A kick as a message.
    VringKick = 35 "VRING_KICK",
    /// How many memory regions we take.
    GetMaxMemSlots = 36 "GET_MAX_MEM_SLOTS",
    /// One more memory region.
    AddMemReg = 37 "ADD_MEM_REG",
    /// One memory region less.
    RemMemReg = 38 "REM_MEM_REG",
    /// The virtio device status.
    SetStatus = 39 "SET_STATUS",
    /// The virtio device status.
    GetStatus = 40 "GET_STATUS",
    /// A buffer shared between devices.
    GetSharedObject = 41 "GET_SHARED_OBJECT",
    /// Pipe for the device's internal state.
    SetDeviceStateFd = 42 "SET_DEVICE_STATE_FD",
    /// Whether that state was moved without an error.
    CheckDeviceState = 43 "CHECK_DEVICE_STATE",
    /// Shared memory regions of the device.
    GetShmemConfig = 44 "GET_SHMEM_CONFIG",
    /// Stop a ring without draining it.
    GetVringBaseSkipDrain = 45 "GET_VRING_BASE_SKIP_DRAIN",
}
