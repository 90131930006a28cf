/*
 * memif, the shared-memory packet interface of VPP, DPDK and libmemif, for C.
 *
 * Generated from the library's source: do not edit.
 *
 *     ringport_memif_port *port;
 *     if (ringport_memif_open("memif:/run/vpp/memif.sock,role=client,id=0", &port) < 0)
 *         errx(1, "%s", ringport_memif_error_text());
 *
 * Ports have a control side and, while a link is up, queues. Call ringport_memif_poll() when
 * ringport_memif_fd() is readable. When it says RINGPORT_MEMIF_LINK_UP, take the link's queues; when it says
 * RINGPORT_MEMIF_LINK_DOWN, free them. The next link has new ones.
 *
 * Results. Functions return a number that is not negative, or a code (RINGPORT_MEMIF_E_...), for which
 * ringport_memif_error_text() then has words.
 *
 * Threads. A handle is used by one thread at a time and may be handed to another, as any object; two
 * queues, or a port and its queues, may be used by two threads at once. A call with a handle that is in use
 * does nothing and returns RINGPORT_MEMIF_E_BUSY. The last error is each thread's own.
 *
 * Handles are no addresses. One that was closed or freed, and NULL, are errors, never undefined behaviour.
 * Pointers to the caller's own memory are checked for NULL and alignment, and must be what each function
 * says.
 */

#ifndef RINGPORT_MEMIF_H
#define RINGPORT_MEMIF_H

#include <stddef.h>
#include <stdint.h>

/**
 * An argument cannot be: NULL, a size or a number out of range, a text that is not UTF-8.
 */
#define RINGPORT_MEMIF_E_INVALID -1

/**
 * A handle was closed before, or never was one, or is of another kind.
 */
#define RINGPORT_MEMIF_E_HANDLE -2

/**
 * Another thread is in a call with the same handle. Nothing was done.
 */
#define RINGPORT_MEMIF_E_BUSY -3

/**
 * Too many handles are open: there is room for 65536 of each kind.
 */
#define RINGPORT_MEMIF_E_LIMIT -4

/**
 * The port string, or an address in it, cannot work. The error's text says which part.
 */
#define RINGPORT_MEMIF_E_CONFIG -5

/**
 * The operating system refused a call.
 */
#define RINGPORT_MEMIF_E_SYSTEM -6

/**
 * Something did not happen in time.
 */
#define RINGPORT_MEMIF_E_TIMEOUT -7

/**
 * The link of this queue is down, for ever: free it, and take one of the next link.
 */
#define RINGPORT_MEMIF_E_LINK_DOWN -8

/**
 * The peer broke the protocol, or wants what we do not have.
 */
#define RINGPORT_MEMIF_E_PEER -9

/**
 * The peer turned us away, said goodbye, or closed the connection.
 */
#define RINGPORT_MEMIF_E_PEER_LEFT -10

/**
 * We turned the peer away: the secret, the mode or the interface was wrong.
 */
#define RINGPORT_MEMIF_E_REFUSED -11

/**
 * There is no such queue: no link, fewer queues, or it was taken already.
 */
#define RINGPORT_MEMIF_E_NO_QUEUE -12

/**
 * A packet is empty, or longer than the ring or the caller's array takes.
 */
#define RINGPORT_MEMIF_E_PACKET -13

/**
 * A call that means nothing now: to release what was not looked at, or a burst while another is open.
 */
#define RINGPORT_MEMIF_E_ORDER -14

/**
 * Most packets, or pieces of packets, of one call. A larger count is taken as this one.
 */
#define RINGPORT_MEMIF_BURST_MAX 256

/**
 * A link is up; its queues can be taken.
 */
#define RINGPORT_MEMIF_LINK_UP 1

/**
 * The link is down; its queues say so for ever. A later RINGPORT_MEMIF_LINK_UP brings new ones.
 */
#define RINGPORT_MEMIF_LINK_DOWN 2

/**
 * An attempt ended before the link was up. A server turned a client away; a client that reconnects tries
 * again by itself.
 */
#define RINGPORT_MEMIF_REFUSED 3

/**
 * A port: one memif interface, in either role.
 */
typedef struct ringport_memif_port ringport_memif_port;

/**
 * A receive queue: what the peer sends on one ring.
 */
typedef struct ringport_memif_rx ringport_memif_rx;

/**
 * A transmit queue: what the peer gets on one ring.
 */
typedef struct ringport_memif_tx ringport_memif_tx;

/**
 * Something that happened to a port.
 */
typedef struct ringport_memif_event {
    /**
     * RINGPORT_MEMIF_LINK_UP, RINGPORT_MEMIF_LINK_DOWN, or RINGPORT_MEMIF_REFUSED.
     */
    uint32_t kind;
    /**
     * Why, as a code (RINGPORT_MEMIF_E_...); 0 for a link that is up, or that this side closed.
     */
    int32_t error;
    /**
     * Receive queues of the link that is up, else 0.
     */
    uint32_t rx_queues;
    /**
     * Transmit queues of the link that is up, else 0.
     */
    uint32_t tx_queues;
    /**
     * Why, for people: what the peer said, or what went wrong; "" for a link that is up. Control
     * characters of the peer are replaced.
     */
    char reason[240];
} ringport_memif_event;

/**
 * What is known of a link.
 */
typedef struct ringport_memif_link_info {
    /**
     * Number of the interface.
     */
    uint32_t id;
    /**
     * 1: this side is the server (master). 0: it is the client (slave).
     */
    uint32_t is_server;
    /**
     * Receive queues.
     */
    uint32_t rx_queues;
    /**
     * Transmit queues.
     */
    uint32_t tx_queues;
    /**
     * Slots in a ring; in the largest one when they differ.
     */
    uint32_t ring_size;
    /**
     * Bytes of a buffer; 0 on the server's side, where each slot says what it holds.
     */
    uint32_t buffer_size;
    /**
     * The peer's process when it connected or listened, as the kernel tells; 0 when it has no number here.
     */
    uint32_t peer_pid;
    /**
     * The peer's effective user.
     */
    uint32_t peer_uid;
    /**
     * The peer's effective group.
     */
    uint32_t peer_gid;
    /**
     * Version of the protocol: major in bits 15 to 8, minor below.
     */
    uint32_t version;
    /**
     * Name of the peer's application.
     */
    char peer_name[96];
    /**
     * The peer's name of the interface.
     */
    char peer_if_name[96];
} ringport_memif_link_info;

/**
 * A packet, or a buffer for one.
 */
typedef struct ringport_memif_packet {
    /**
     * Its bytes.
     */
    void *data;
    /**
     * Length of the packet, in bytes.
     */
    uint32_t len;
    /**
     * What `data` has room for, in bytes.
     */
    uint32_t capacity;
} ringport_memif_packet;

/**
 * A part of a received packet, where the peer wrote it.
 *
 * The peer can change these bytes at any time, even while you look at them: read each value once, into a
 * variable of your own, and check it there.
 */
typedef struct ringport_memif_piece {
    /**
     * Its bytes. They stay readable until the packet is released.
     */
    const void *data;
    /**
     * Their number.
     */
    uint32_t len;
    /**
     * 1: the packet goes on in the next piece. 0: this is its end, or all of it.
     */
    uint32_t more;
} ringport_memif_piece;

/**
 * What a receive queue counted since its link came up.
 */
typedef struct ringport_memif_rx_counters {
    /**
     * Packets taken from the ring.
     */
    uint64_t packets;
    /**
     * Their bytes.
     */
    uint64_t bytes;
    /**
     * Bursts asked for while the ring was empty.
     */
    uint64_t empty_bursts;
    /**
     * Times ringport_memif_rx_arm() found that the peer had rung.
     */
    uint64_t wake_ups;
    /**
     * Things that the peer did wrong. The first one ends the link.
     */
    uint64_t faults;
} ringport_memif_rx_counters;

/**
 * What a transmit queue counted since its link came up.
 */
typedef struct ringport_memif_tx_counters {
    /**
     * Packets sent.
     */
    uint64_t packets;
    /**
     * Their bytes.
     */
    uint64_t bytes;
    /**
     * Bursts that got fewer slots than they asked for: the peer is behind.
     */
    uint64_t ring_full;
    /**
     * Times that the peer was rung.
     */
    uint64_t doorbells;
    /**
     * Bursts sent without ringing, since the peer asked for none.
     */
    uint64_t doorbells_suppressed;
    /**
     * Things that the peer did wrong. The first one ends the link.
     */
    uint64_t faults;
} ringport_memif_tx_counters;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Code of the last error of this thread: what the last call that failed returned; 0 when none did.
 * Calls that succeed leave it as it is.
 */
int ringport_memif_error(void);

/**
 * Text of the last error of this thread, in English, with its causes; "" when there was none. It belongs
 * to the library, and holds until the next error of this thread, or its end.
 */
const char *ringport_memif_error_text(void);

/**
 * What a code means, in a few words, as far as that can be said without the case; never NULL.
 */
const char *ringport_memif_code_text(int code);

/**
 * Version of the library, such as "0.1.0".
 */
const char *ringport_memif_version(void);

/**
 * Opens the port that a port string describes, such as "memif:/run/vpp/memif.sock,role=client,id=0", and
 * stores its handle. Listens, or starts to connect, and does not wait for the peer.
 *
 * Returns 0, or RINGPORT_MEMIF_E_CONFIG, _SYSTEM, _LIMIT or _INVALID. What goes wrong with the peer later
 * is an event.
 *
 * `port` is a string in UTF-8 of at most 4096 bytes; it is not kept. The handle is the caller's, to be
 * given to ringport_memif_close().
 */
int ringport_memif_open(const char *port, struct ringport_memif_port **opened);

/**
 * Closes a port. The peer is told `reason`, of which 95 bytes are sent; NULL says "closed". Queues that
 * were taken stay the caller's, and say that their link is down. A server's socket file is removed with
 * the last port on it: a process that ends without this leaves the file behind, and the next server
 * replaces it.
 *
 * Returns 0, RINGPORT_MEMIF_E_HANDLE when it was closed already, RINGPORT_MEMIF_E_BUSY while another
 * thread is in a call with it, or RINGPORT_MEMIF_E_INVALID.
 */
int ringport_memif_close(struct ringport_memif_port *port, const char *reason);

/**
 * A descriptor for the caller's own poll() or epoll: readable when ringport_memif_poll() has something to
 * do, which includes timers. It belongs to the port: do not read, write or close it.
 *
 * Returns the descriptor, or a negative code.
 */
int ringport_memif_fd(struct ringport_memif_port *port);

/**
 * Runs a port until something happened, or `timeout_ms` milliseconds have passed: 0 does not wait, a
 * negative number waits for ever. Ports do nothing while nobody calls this: handshakes stand still, and
 * who calls late learns late that a link went down. Packets do not need it.
 *
 * Returns 1 and stores the event; 0 when there was none in time, or with a negative `timeout_ms` when
 * nothing can ever happen again (reconnect=never); or a negative code. `size` is the size of the
 * structure that `event` points to: sizeof(ringport_memif_event). Bytes of it that this version of the
 * library does not know are set to zero.
 */
int ringport_memif_poll(struct ringport_memif_port *port,
                        int timeout_ms,
                        struct ringport_memif_event *event,
                        size_t size);

/**
 * Runs a port until its link is up, at most `timeout_ms` milliseconds; a negative number waits for ever.
 * Events on the way are consumed; refusals are waited out as long as the port tries again.
 *
 * Returns 0 when the link is up, at once when it was already; RINGPORT_MEMIF_E_TIMEOUT, or what went
 * wrong last on the way.
 */
int ringport_memif_wait_link_up(struct ringport_memif_port *port, int timeout_ms);

/**
 * Stores what is known of the link that is up. `size` is sizeof(ringport_memif_link_info); see
 * ringport_memif_poll().
 *
 * Returns 0, RINGPORT_MEMIF_E_LINK_DOWN, or another negative code.
 */
int ringport_memif_get_link_info(struct ringport_memif_port *port,
                                 struct ringport_memif_link_info *info,
                                 size_t size);

/**
 * Takes a receive queue of the link that is up, by its index from 0 on, and stores its handle. Each can be
 * taken once. It is the caller's, to be given to ringport_memif_rx_free(), and needs the port no more: it
 * may be used by another thread.
 *
 * Returns 0, RINGPORT_MEMIF_E_NO_QUEUE, or another negative code.
 */
int ringport_memif_take_rx(struct ringport_memif_port *port,
                           uint32_t index,
                           struct ringport_memif_rx **taken);

/**
 * Takes a transmit queue of the link that is up: as ringport_memif_take_rx(). It is given to
 * ringport_memif_tx_free() in the end.
 */
int ringport_memif_take_tx(struct ringport_memif_port *port,
                           uint32_t index,
                           struct ringport_memif_tx **taken);

/**
 * Receives packets, oldest first, into the caller's buffers. Never waits, allocates, or makes a system
 * call.
 *
 * Returns how many packets were received, 0 when there was none, at most RINGPORT_MEMIF_BURST_MAX; or a
 * negative code.
 *
 * `packets` is an array of `count`, whose `data` and `capacity` the caller has set. Of each packet that was
 * received, as many bytes are stored as fit, and `len` is set to the packet's whole length: when it is
 * above `capacity`, the rest is lost. A `data` of NULL goes with a `capacity` of 0. Buffers are not kept,
 * and must not overlap.
 */
int ringport_memif_rx_burst(struct ringport_memif_rx *rx,
                            struct ringport_memif_packet *packets,
                            size_t count);

/**
 * Shows received packets where the peer wrote them, oldest first, without a copy. They stay until
 * ringport_memif_rx_release(), which has to come before any other call with this queue but
 * ringport_memif_rx_fd() and ringport_memif_rx_free().
 *
 * Returns how many pieces were stored: of whole packets only, each one piece unless it is longer than the
 * client's buffers (`more`). 0: there was no packet, and nothing needs to be released.
 * RINGPORT_MEMIF_E_PACKET: the array is too short for the first packet; one of RINGPORT_MEMIF_BURST_MAX
 * is long enough unless the port has a larger chain-max, and ringport_memif_rx_burst() takes all. Or
 * another negative code.
 *
 * `pieces` is an array of `count`.
 */
int ringport_memif_rx_peek(struct ringport_memif_rx *rx, struct ringport_memif_piece *pieces, size_t count);

/**
 * Gives the first `packets` of the packets that ringport_memif_rx_peek() showed back to the peer: packets,
 * not pieces. The others are delivered again. No pointer of that call is valid any more.
 *
 * Returns 0, RINGPORT_MEMIF_E_ORDER when nothing was shown, RINGPORT_MEMIF_E_INVALID when not as many were
 * (then all stays as it was), or another negative code.
 */
int ringport_memif_rx_release(struct ringport_memif_rx *rx, size_t packets);

/**
 * Asks the peer to ring for the next packet, for callers who want to sleep: call this first, then wait
 * until ringport_memif_rx_fd() is readable. One system call.
 *
 * Returns 0: the descriptor will be readable. 1: packets are waiting, do not sleep; always so with
 * rx-mode=polling. Or a negative code, such as RINGPORT_MEMIF_E_LINK_DOWN.
 */
int ringport_memif_rx_arm(struct ringport_memif_rx *rx);

/**
 * The queue's doorbell, for the caller's own poll() or epoll: readable once the peer rang after
 * ringport_memif_rx_arm(), and when the link goes down. It stays the same for the queue's life and belongs
 * to it: do not read, write or close it.
 *
 * Returns the descriptor, or a negative code.
 */
int ringport_memif_rx_fd(struct ringport_memif_rx *rx);

/**
 * Stores what the queue counted. `size` is sizeof(ringport_memif_rx_counters); see ringport_memif_poll().
 * Works when the link is down, too.
 *
 * Returns 0, or a negative code.
 */
int ringport_memif_rx_stats(struct ringport_memif_rx *rx,
                            struct ringport_memif_rx_counters *stats,
                            size_t size);

/**
 * Frees a queue. Packets that were shown are given back; no pointer to them is valid any more.
 *
 * Returns 0, RINGPORT_MEMIF_E_HANDLE when it was freed already, or RINGPORT_MEMIF_E_BUSY.
 */
int ringport_memif_rx_free(struct ringport_memif_rx *rx);

/**
 * Sends packets from the caller's buffers, in order. Never waits, and does not allocate; makes a system
 * call only to ring for a peer that asked for it.
 *
 * Returns how many packets were sent: fewer than `count` when the ring is full, 0 when it was full before,
 * at most RINGPORT_MEMIF_BURST_MAX; or a negative code. A packet that cannot be sent
 * (RINGPORT_MEMIF_E_PACKET when it is empty or longer than the ring takes, RINGPORT_MEMIF_E_INVALID when
 * its `data` is NULL) ends the burst: those before it are sent, and the next call, which starts with it,
 * fails.
 *
 * `packets` is an array of `count`, whose `data` and `len` the caller has set. Buffers are copied and not
 * kept. A packet longer than one of the client's buffers goes out in several slots.
 */
int ringport_memif_tx_burst(struct ringport_memif_tx *tx,
                            const struct ringport_memif_packet *packets,
                            size_t count);

/**
 * Reserves room for up to `count` packets in the ring itself, to be written there without a copy. The
 * caller writes to `data`, at most `capacity` bytes, sets `len`, and calls ringport_memif_tx_commit(),
 * which has to come before any other call with this queue but ringport_memif_tx_free().
 *
 * Returns how many elements of `packets` were set, 0 when the ring is full: then there is nothing to
 * commit; or a negative code. A packet has one buffer here: longer ones are for ringport_memif_tx_burst().
 *
 * The peer can read these bytes while you write them.
 */
int ringport_memif_tx_reserve(struct ringport_memif_tx *tx,
                              struct ringport_memif_packet *packets,
                              size_t count);

/**
 * Sends the first `count` packets that ringport_memif_tx_reserve() gave room for, with the lengths that
 * `packets` says; of the array, nothing but `len` is read. 0 sends nothing and gives the room back. No
 * pointer of that call is valid any more.
 *
 * Returns `count`; RINGPORT_MEMIF_E_ORDER when nothing was reserved; RINGPORT_MEMIF_E_PACKET for a length
 * of zero or above its capacity and RINGPORT_MEMIF_E_INVALID for more than were reserved (then all stays as
 * it was); or another negative code.
 */
int ringport_memif_tx_commit(struct ringport_memif_tx *tx,
                             const struct ringport_memif_packet *packets,
                             size_t count);

/**
 * Stores what the queue counted. `size` is sizeof(ringport_memif_tx_counters); see ringport_memif_poll().
 * Works when the link is down, too.
 *
 * Returns 0, or a negative code.
 */
int ringport_memif_tx_stats(struct ringport_memif_tx *tx,
                            struct ringport_memif_tx_counters *stats,
                            size_t size);

/**
 * Frees a queue. What was reserved and not committed is not sent.
 *
 * Returns 0, RINGPORT_MEMIF_E_HANDLE when it was freed already, or RINGPORT_MEMIF_E_BUSY.
 */
int ringport_memif_tx_free(struct ringport_memif_tx *tx);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RINGPORT_MEMIF_H */
