/*
 * Answers ARP and ping on a memif port, or sends back whatever comes.
 *
 *     cc responder.c $(pkg-config --cflags --libs ringport_memif) -o responder
 *     ./responder memif:/run/vpp/memif.sock,role=client,id=0 10.0.0.1
 *
 * With an address: answers ARP requests for it and ICMP echo requests to it. Without one: sends every packet
 * back with its Ethernet addresses exchanged. Sleeps when there is nothing to do. Prints each link that comes
 * and goes; Ctrl-C ends it.
 */
#define _GNU_SOURCE /* ppoll */
#include <arpa/inet.h>
#include <inttypes.h>
#include <poll.h>
#include <ringport_memif.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BURST = 32, CAPACITY = 9216, ETHER = 14, QUEUES_MAX = 16 };

static const uint8_t OUR_MAC[6] = {0x02, 0xfe, 0, 0, 0, 1};
static struct in_addr our_address;
static int bounces;
static volatile sig_atomic_t stop;
static uint8_t memory[BURST][CAPACITY];

/* The queues of the link that is up. */
static ringport_memif_rx *rx[QUEUES_MAX];
static ringport_memif_tx *tx[QUEUES_MAX];
static unsigned queues;

static void on_signal(int number)
{
    (void)number;
    stop = 1;
}

static void die(const char *what)
{
    fprintf(stderr, "responder: %s: %s\n", what, ringport_memif_error_text());
    exit(1);
}

/* Makes an answer of an Ethernet frame, in place: back to its sender, from us. */
static void turn_around(uint8_t *frame)
{
    uint8_t sender[6];
    memcpy(sender, frame + 6, 6);
    memcpy(frame + 6, bounces ? frame : OUR_MAC, 6);
    memcpy(frame, sender, 6);
}

static int answer_arp(uint8_t *frame, uint32_t len)
{
    uint8_t *arp = frame + ETHER, sender[10];
    if (len < ETHER + 28 || memcmp(arp, "\0\1\10\0\6\4\0\1", 8) != 0 || memcmp(arp + 24, &our_address, 4) != 0)
        return 0;
    memcpy(sender, arp + 8, sizeof sender);
    arp[7] = 2;
    memcpy(arp + 8, OUR_MAC, 6);
    memcpy(arp + 14, &our_address, 4);
    memcpy(arp + 18, sender, sizeof sender);
    return 1;
}

static int answer_ping(uint8_t *frame, uint32_t len)
{
    uint8_t *ip = frame + ETHER, *icmp = ip + 20, sender[4];
    if (len < ETHER + 28 || ip[0] != 0x45 || ip[9] != 1 || icmp[0] != 8 || memcmp(ip + 16, &our_address, 4) != 0)
        return 0;
    memcpy(sender, ip + 12, 4);
    memcpy(ip + 12, &our_address, 4);
    memcpy(ip + 16, sender, 4);
    /* The type goes from 8 to 0: the checksum, a sum's complement, grows by 8 in its high byte. */
    icmp[0] = 0;
    uint32_t sum = ((uint32_t)icmp[2] << 8 | icmp[3]) + 0x0800;
    sum = (sum & 0xffff) + (sum >> 16);
    icmp[2] = (uint8_t)(sum >> 8);
    icmp[3] = (uint8_t)sum;
    return 1;
}

/* Whether the frame, now changed, is to be sent. */
static int answers(uint8_t *frame, uint32_t len)
{
    if (len < ETHER || len > CAPACITY)
        return 0;
    if (!bounces && !(frame[12] == 8 && frame[13] == 6 && answer_arp(frame, len)) &&
        !(frame[12] == 8 && frame[13] == 0 && answer_ping(frame, len)))
        return 0;
    turn_around(frame);
    return 1;
}

/* Receives a burst and sends what answers there are. What the ring has no room for is lost. */
static int serve(unsigned queue)
{
    ringport_memif_packet packets[BURST];
    int received, kept = 0;
    for (int at = 0; at < BURST; at++)
        packets[at] = (ringport_memif_packet){memory[at], 0, CAPACITY};
    received = ringport_memif_rx_burst(rx[queue], packets, BURST);
    for (int at = 0; at < received; at++)
        if (answers(packets[at].data, packets[at].len))
            packets[kept++] = packets[at];
    if (kept > 0)
        ringport_memif_tx_burst(tx[queue], packets, (size_t)kept);
    return received;
}

static void link_up(ringport_memif_port *port, const ringport_memif_event *event)
{
    ringport_memif_link_info info;
    if (ringport_memif_get_link_info(port, &info, sizeof info) < 0)
        die("link");
    queues = event->rx_queues < event->tx_queues ? event->rx_queues : event->tx_queues;
    if (queues > QUEUES_MAX)
        queues = QUEUES_MAX;
    for (unsigned at = 0; at < queues; at++)
        if (ringport_memif_take_rx(port, at, &rx[at]) < 0 || ringport_memif_take_tx(port, at, &tx[at]) < 0)
            die("queues");
    printf("link up: %s, %u queues of %u slots\n", info.peer_name, queues, info.ring_size);
}

static void link_down(const char *reason)
{
    for (unsigned at = 0; at < queues; at++) {
        ringport_memif_rx_counters in;
        ringport_memif_tx_counters out;
        if (ringport_memif_rx_stats(rx[at], &in, sizeof in) < 0 ||
            ringport_memif_tx_stats(tx[at], &out, sizeof out) < 0)
            die("statistics");
        printf("queue %u: received %" PRIu64 ", sent %" PRIu64 " packets\n", at, in.packets, out.packets);
        ringport_memif_rx_free(rx[at]);
        ringport_memif_tx_free(tx[at]);
    }
    printf("link down: %s\n", reason);
    queues = 0;
}

/* Handles all that happened to the port. */
static void control(ringport_memif_port *port)
{
    ringport_memif_event event;
    int happened;
    while ((happened = ringport_memif_poll(port, 0, &event, sizeof event)) > 0) {
        if (event.kind == RINGPORT_MEMIF_LINK_UP)
            link_up(port, &event);
        else if (event.kind == RINGPORT_MEMIF_LINK_DOWN)
            link_down(event.reason);
    }
    if (happened < 0)
        die("poll");
}

/* Lets signals through, and sleeps until there is something to do. */
static void rest(ringport_memif_port *port, int busy, const sigset_t *signals)
{
    struct pollfd fds[QUEUES_MAX + 1] = {{.fd = ringport_memif_fd(port), .events = POLLIN}};
    struct timespec at_once = {0, 0};
    for (unsigned at = 0; at < queues; at++) {
        fds[at + 1] = (struct pollfd){.fd = ringport_memif_rx_fd(rx[at]), .events = POLLIN};
        busy = busy || ringport_memif_rx_arm(rx[at]) > 0;
    }
    ppoll(fds, queues + 1, busy ? &at_once : NULL, signals);
}

int main(int argc, char **argv)
{
    ringport_memif_port *port;
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t blocked, before;
    if (argc < 2 || argc > 3 || (argc == 3 && inet_pton(AF_INET, argv[2], &our_address) != 1)) {
        fprintf(stderr, "usage: responder PORT [IPV4-ADDRESS]\n");
        return 2;
    }
    bounces = argc == 2;
    /* Ctrl-C comes through only while we rest: it is not missed. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    sigaction(SIGINT, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (ringport_memif_open(argv[1], &port) < 0)
        die("open");
    while (!stop) {
        int busy = 0;
        for (unsigned at = 0; at < queues; at++)
            busy |= serve(at) > 0;
        rest(port, busy, &before);
        control(port);
    }
    link_down("interrupted");
    if (ringport_memif_close(port, "interrupted") < 0)
        die("close");
    return 0;
}
