/*
 * vkmps: many processes share one Vulkan device through the daemon vkmpsd. The C client library, libvkmps.so.1.
 *
 *     vkmps_client_t *client = vkmps_connect(NULL);
 *     vkmps_program_t program = vkmps_register_program(client, spirv, spirv_size, "main");
 *     vkmps_buffer_t in = vkmps_alloc_buffer(client, 4096, VKMPS_BUFFER_USAGE_STORAGE);
 *     vkmps_buffer_t out = vkmps_alloc_buffer(client, 4096, VKMPS_BUFFER_USAGE_STORAGE);
 *     vkmps_write_buffer(client, in, 0, 4096, data);
 *     vkmps_submission_t run = vkmps_submit(client, program, 16, 1, 1, NULL, 0, &in, 1, &out, 1);
 *     vkmps_wait(client, run, 0);
 *     vkmps_read_buffer(client, out, 0, 4096, data);
 *     vkmps_disconnect(client);
 *
 * Units: sizes and offsets are bytes, times are nanoseconds, groups are workgroups.
 *
 * Errors: functions that return int return VKMPS_OK (0) or a negative vkmps_result_t. The others return 0 or NULL on
 * failure; vkmps_last_error_code() and vkmps_last_error() then say why. NULL where a pointer is needed, an object
 * that was freed and an object of another client are errors too, never undefined. The client and handle pointers
 * themselves must be valid: not freed, and made by this library.
 *
 * Ownership: the caller frees what he got: a client by vkmps_disconnect, which releases its programs and buffers, a
 * buffer by vkmps_free_buffer if it is to go earlier, an async handle by vkmps_submit_handle_free. Arrays and strings
 * given to a function are used during the call only.
 *
 * Threads: every function may be called from any thread, also for the same client at the same time; but nothing may use
 * a client or handle while or after it is freed. The last error belongs to the thread.
 *
 * Processes: a client does not survive fork() in the child; the child connects itself and leaves the parent's client
 * alone.
 *
 * The end: when the daemon or its engine dies, every call on the client returns VKMPS_ERROR_DAEMON_LOST or
 * VKMPS_ERROR_ENGINE_LOST, also those that wait. Disconnect and connect again.
 */
#ifndef VKMPS_CLIENT_H
#define VKMPS_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A session with the daemon. */
typedef struct vkmps_client vkmps_client_t;

/* A submit that can be waited for without its client. */
typedef struct vkmps_async_handle vkmps_async_handle_t;

/* A compiled program of a client; 0 is none. Numbers are unique in the process and never used again. */
typedef uint64_t vkmps_program_t;

/* A buffer of a client; 0 is none. Numbers are unique in the process and never used again. */
typedef uint64_t vkmps_buffer_t;

/* A submit of a client: consecutive from 1; 0 is none. */
typedef uint64_t vkmps_submission_t;

typedef enum vkmps_result {
    VKMPS_OK = 0,
    VKMPS_NOT_READY = 1, /* vkmps_poll: not over yet */
    VKMPS_ERROR_NO_DAEMON = -1, /* nobody listens on the socket */
    VKMPS_ERROR_DAEMON_FULL = -2,
    VKMPS_ERROR_VERSION_MISMATCH = -3,
    VKMPS_ERROR_DAEMON_LOST = -4,
    VKMPS_ERROR_ENGINE_LOST = -5,
    VKMPS_ERROR_TIMEOUT = -6,
    VKMPS_ERROR_INVALID_ARGUMENT = -7,
    VKMPS_ERROR_INVALID_HANDLE = -8, /* freed, or another client's */
    VKMPS_ERROR_OUT_OF_RANGE = -9, /* offset and size leave the buffer */
    VKMPS_ERROR_OUT_OF_DEVICE_MEMORY = -10,
    VKMPS_ERROR_OUT_OF_HOST_MEMORY = -11,
    VKMPS_ERROR_LIMIT_REACHED = -12,
    VKMPS_ERROR_INVALID_MODULE = -13,
    VKMPS_ERROR_COMPILE_FAILED = -14,
    VKMPS_ERROR_COMPILE_TIMEOUT = -15,
    VKMPS_ERROR_BINDING_MISMATCH = -16,
    VKMPS_ERROR_PUSH_CONSTANT_MISMATCH = -17,
    VKMPS_ERROR_GROUP_COUNT = -18, /* beyond the device's limits */
    VKMPS_ERROR_DEVICE_FAULT = -19,
    VKMPS_ERROR_PROTOCOL = -20,
    VKMPS_ERROR_UNSUPPORTED = -21,
    VKMPS_ERROR_PERMISSION_DENIED = -22,
    VKMPS_ERROR_STREAM_POISONED = -23, /* a submit before this one failed */
    VKMPS_ERROR_INTERRUPTED = -24,
    VKMPS_ERROR_DRAINING = -25, /* the daemon is shutting down */
    VKMPS_ERROR_NO_DEVICE = -26,
    VKMPS_ERROR_SYSTEM = -27, /* the text names the system call */
    VKMPS_ERROR_LOOP_BUDGET = -28, /* a shader did more loop iterations than an invocation may do */
    VKMPS_ERROR_SESSION_OVER = -29 /* the session that the client belongs to is over */
} vkmps_result_t;

typedef enum vkmps_priority {
    VKMPS_PRIORITY_LOW = 0,
    VKMPS_PRIORITY_MEDIUM = 1,
    VKMPS_PRIORITY_HIGH = 2,
    VKMPS_PRIORITY_REALTIME = 3
} vkmps_priority_t;

/* What a buffer is for; bits. */
#define VKMPS_BUFFER_USAGE_STORAGE 0x1u
#define VKMPS_BUFFER_USAGE_UNIFORM 0x2u
#define VKMPS_BUFFER_USAGE_TRANSFER_SRC 0x4u
#define VKMPS_BUFFER_USAGE_TRANSFER_DST 0x8u
/* Keep it in host memory that the device reads over its bus: this process writes and reads it without copies by the
 * device, programs work on it more slowly. Makes no difference on a device that computes in host memory. */
#define VKMPS_BUFFER_USAGE_HOST 0x100u

/* ---- Sessions ---- */

/* Connects to the daemon at the path, NULL for the one in VKMPS_SOCKET or else /run/vkmps/vkmps.sock, with medium
 * priority. NULL on failure: NO_DAEMON, DAEMON_FULL, VERSION_MISMATCH, PERMISSION_DENIED, DRAINING, NO_DEVICE,
 * DAEMON_LOST; TIMEOUT when the daemon says nothing for 30 s. */
vkmps_client_t *vkmps_connect(const char *socket_path);

/* As vkmps_connect with a vkmps_priority_t; policy may grant less. */
vkmps_client_t *vkmps_connect_with_priority(const char *socket_path, int priority);

/* As vkmps_connect_with_priority, with limits that the client sets itself: memory in bytes, and percent of the device's time;
 * 0 is no limit of its own. Policy may grant less, and so may the environment: VKMPS_DEVICE_MEM_LIMIT ("2G", "25%"),
 * VKMPS_ACTIVE_THREAD_PERCENTAGE and VKMPS_CLIENT_PRIORITY ("low", "medium", "high", "realtime") count for all functions
 * that connect. INVALID_ARGUMENT for values that make no sense, there too. */
vkmps_client_t *vkmps_connect_with_limits(const char *socket_path, int priority, uint64_t memory,
                                          uint32_t active_thread_percentage);

/* Ends the session and frees the client with its programs and buffers. Does not wait for submits; async handles stay
 * valid and keep the session's connection open until they are freed. NULL is ignored. */
void vkmps_disconnect(vkmps_client_t *client);

/* ---- Programs and buffers ---- */

/* Registers a SPIR-V module (a multiple of 4 bytes, this machine's byte order) with its compute entry point, NULL for
 * "main", and waits until it is compiled, which may take seconds. It stays until the client disconnects. 0 on failure:
 * INVALID_MODULE, COMPILE_FAILED, COMPILE_TIMEOUT, LIMIT_REACHED. */
vkmps_program_t vkmps_register_program(vkmps_client_t *client, const void *spirv, size_t size, const char *entry);

/* Allocates a buffer of zeros. 0 on failure: OUT_OF_DEVICE_MEMORY, OUT_OF_HOST_MEMORY, LIMIT_REACHED, INVALID_ARGUMENT
 * (no bytes, unknown usage). */
vkmps_buffer_t vkmps_alloc_buffer(vkmps_client_t *client, uint64_t size, uint32_t usage);

/* Frees a buffer. Submits that use it complete first; the call does not wait for them. */
int vkmps_free_buffer(vkmps_client_t *client, vkmps_buffer_t buffer);

/* Writes to a buffer, after all earlier submits that use it. OUT_OF_RANGE. */
int vkmps_write_buffer(vkmps_client_t *client, vkmps_buffer_t buffer, uint64_t offset, size_t size, const void *data);

/* Reads from a buffer, after all earlier submits that write it. OUT_OF_RANGE; the error of such a submit, if no call
 * has returned it yet. */
int vkmps_read_buffer(vkmps_client_t *client, vkmps_buffer_t buffer, uint64_t offset, size_t size, void *data);

/* ---- Buffers that several clients use ---- */

/* What the user of a shared buffer may do. */
typedef enum vkmps_grant {
    VKMPS_GRANT_READ_WRITE = 0,
    VKMPS_GRANT_READ_ONLY = 1 /* writing it fails, and so does work that might: PERMISSION_DENIED */
} vkmps_grant_t;

/* Room that a ticket takes, with its end. */
#define VKMPS_TICKET_SIZE 128

/* Allocates a buffer of zeros in host memory that can be offered to other clients. It counts as this client's alone, and
 * ends for all when this client frees it or disconnects. Errors as vkmps_alloc_buffer. */
vkmps_buffer_t vkmps_alloc_shareable(vkmps_client_t *client, uint64_t size);

/* Offers a shareable buffer to all clients of a user with a vkmps_grant_t, as often as they like, and writes a ticket that
 * names it: a string without spaces, no secret. Offering it again changes what newcomers get. UNSUPPORTED for a buffer
 * that is not shareable, LIMIT_REACHED, INVALID_ARGUMENT for less room than VKMPS_TICKET_SIZE. */
int vkmps_offer_to_user(vkmps_client_t *client, vkmps_buffer_t buffer, uint32_t uid, int grant, char *ticket, size_t size);

/* As vkmps_offer_to_user, to whoever shows the ticket first: a secret. */
int vkmps_offer_once(vkmps_client_t *client, vkmps_buffer_t buffer, int grant, char *ticket, size_t size);

/* Attaches to a buffer that is offered; its bytes are the owner's, not a copy, and nothing orders the work of several
 * clients on it but they themselves. When the owner has freed it or gone, its bytes are zeros and submits with it fail.
 * 0 on failure: PERMISSION_DENIED where no such offer stands for this client, INVALID_ARGUMENT for what is no ticket,
 * LIMIT_REACHED. */
vkmps_buffer_t vkmps_attach(vkmps_client_t *client, const char *ticket);

/* ---- Submits ---- */

/* Submits a run of a program over gx * gy * gz workgroups. The buffers in[0] to in[n_in - 1] are the first
 * bindings of set 0, out[0] is binding n_in and so on; a buffer may be in both. The push constants have exactly the
 * size that the program declares. Submits of a client take effect in the order in which they were made; those that do not touch
 * the same bytes may overlap.
 *
 * Returns at once, except that it waits for room while very many submits are under way. 0 on failure, and nothing was
 * submitted: BINDING_MISMATCH, PUSH_CONSTANT_MISMATCH, GROUP_COUNT, INVALID_HANDLE, INVALID_ARGUMENT.
 *
 * A submit that fails while it runs fails the ones behind it too (STREAM_POISONED), until a call has returned the
 * failure. */
vkmps_submission_t vkmps_submit(vkmps_client_t *client, vkmps_program_t program, uint32_t gx, uint32_t gy, uint32_t gz,
                                const void *push, size_t push_size, const vkmps_buffer_t *in, size_t n_in,
                                const vkmps_buffer_t *out, size_t n_out);

/* Waits until a submit is over, for at most timeout_ns: 0 and UINT64_MAX wait for ever. TIMEOUT; why the submit
 * failed, on every call; INVALID_HANDLE for a number that no submit has. */
int vkmps_wait(vkmps_client_t *client, vkmps_submission_t submission, uint64_t timeout_ns);

/* VKMPS_OK when a submit is over, VKMPS_NOT_READY while it is not; errors as vkmps_wait. Never blocks. */
int vkmps_poll(vkmps_client_t *client, vkmps_submission_t submission);

/* As vkmps_submit, and returns a handle; NULL on failure. */
vkmps_async_handle_t *vkmps_submit_nb(vkmps_client_t *client, vkmps_program_t program, uint32_t gx, uint32_t gy,
                                      uint32_t gz, const void *push, size_t push_size, const vkmps_buffer_t *in,
                                      size_t n_in, const vkmps_buffer_t *out, size_t n_out);

/* As vkmps_wait; may be called again and again. */
int vkmps_submit_wait(vkmps_async_handle_t *handle, uint64_t timeout_ns);

/* Frees a handle; the submit runs on. NULL is ignored. */
void vkmps_submit_handle_free(vkmps_async_handle_t *handle);

/* ---- Errors ---- */

/* What a vkmps_result_t means, in words; never NULL, valid for ever. */
const char *vkmps_strerror(int result);

/* Text of the calling thread's last failure, "" before the first; valid until the thread's next failure. */
const char *vkmps_last_error(void);

/* The vkmps_result_t of the calling thread's last failure, VKMPS_OK before the first. Successes leave it as it is. */
int vkmps_last_error_code(void);

#ifdef __cplusplus
}
#endif

#endif /* VKMPS_CLIENT_H */
