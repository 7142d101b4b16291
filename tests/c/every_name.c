/* Every name that the C library promises, with its exact type; a buffer that is input and output; every way to wait.
 *
 *     every_name VECTOR_ADD.spv FMA_LOOP.spv
 */
#include <stdio.h>
#include <stdlib.h>
#include <vkmps/client.h>

static vkmps_client_t *(*const connect_)(const char *) = vkmps_connect;
static vkmps_client_t *(*const connect_with_priority_)(const char *, int) = vkmps_connect_with_priority;
static vkmps_client_t *(*const connect_with_limits_)(const char *, int, uint64_t, uint32_t) = vkmps_connect_with_limits;
static void (*const disconnect_)(vkmps_client_t *) = vkmps_disconnect;
static vkmps_program_t (*const register_)(vkmps_client_t *, const void *, size_t, const char *) = vkmps_register_program;
static vkmps_buffer_t (*const alloc_)(vkmps_client_t *, uint64_t, uint32_t) = vkmps_alloc_buffer;
static int (*const free_)(vkmps_client_t *, vkmps_buffer_t) = vkmps_free_buffer;
static int (*const write_)(vkmps_client_t *, vkmps_buffer_t, uint64_t, size_t, const void *) = vkmps_write_buffer;
static int (*const read_)(vkmps_client_t *, vkmps_buffer_t, uint64_t, size_t, void *) = vkmps_read_buffer;
static int (*const wait_)(vkmps_client_t *, vkmps_submission_t, uint64_t) = vkmps_wait;
static int (*const poll_)(vkmps_client_t *, vkmps_submission_t) = vkmps_poll;
static int (*const submit_wait_)(vkmps_async_handle_t *, uint64_t) = vkmps_submit_wait;
static void (*const handle_free_)(vkmps_async_handle_t *) = vkmps_submit_handle_free;
static vkmps_buffer_t (*const alloc_shareable_)(vkmps_client_t *, uint64_t) = vkmps_alloc_shareable;
static int (*const offer_to_user_)(vkmps_client_t *, vkmps_buffer_t, uint32_t, int, char *, size_t) = vkmps_offer_to_user;
static int (*const offer_once_)(vkmps_client_t *, vkmps_buffer_t, int, char *, size_t) = vkmps_offer_once;
static vkmps_buffer_t (*const attach_)(vkmps_client_t *, const char *) = vkmps_attach;
static const char *(*const strerror_)(int) = vkmps_strerror;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "line %d: %s: %s (%d)\n", __LINE__, #condition, vkmps_last_error(), vkmps_last_error_code()); \
            exit(1); \
        } \
    } while (0)

enum { COUNT = 1024, LONG = 65536 };

static vkmps_program_t registered(vkmps_client_t *client, const char *path)
{
    static char bytes[65536];
    FILE *file = fopen(path, "rb");
    CHECK(file);
    size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    return register_(client, bytes, size, "main");
}

/* One client reads what another one writes, and cannot write itself. */
static void share(void)
{
    char ticket[VKMPS_TICKET_SIZE], once[VKMPS_TICKET_SIZE];
    uint32_t value = 4711, seen = 0;
    vkmps_client_t *owner = connect_(NULL), *reader = connect_(NULL);
    CHECK(owner && reader);
    vkmps_buffer_t plain = alloc_(owner, 4, VKMPS_BUFFER_USAGE_STORAGE);
    CHECK(offer_once_(owner, plain, VKMPS_GRANT_READ_ONLY, once, sizeof once) == VKMPS_ERROR_UNSUPPORTED);
    vkmps_buffer_t own = alloc_shareable_(owner, sizeof value);
    CHECK(own && write_(owner, own, 0, sizeof value, &value) == VKMPS_OK);
    CHECK(offer_once_(owner, own, VKMPS_GRANT_READ_ONLY, once, sizeof once - 1) == VKMPS_ERROR_INVALID_ARGUMENT);
    CHECK(offer_once_(owner, own, 2, once, sizeof once) == VKMPS_ERROR_INVALID_ARGUMENT);
    CHECK(offer_once_(owner, own, VKMPS_GRANT_READ_ONLY, once, sizeof once) == VKMPS_OK);
    CHECK(offer_to_user_(owner, own, 4242, VKMPS_GRANT_READ_WRITE, ticket, sizeof ticket) == VKMPS_OK);
    CHECK(!attach_(reader, ticket) && vkmps_last_error_code() == VKMPS_ERROR_PERMISSION_DENIED);
    CHECK(!attach_(reader, "no ticket") && vkmps_last_error_code() == VKMPS_ERROR_INVALID_ARGUMENT);
    vkmps_buffer_t attached = attach_(reader, once);
    CHECK(attached && read_(reader, attached, 0, sizeof seen, &seen) == VKMPS_OK && seen == value);
    CHECK(write_(reader, attached, 0, sizeof seen, &seen) == VKMPS_ERROR_PERMISSION_DENIED);
    CHECK(!attach_(reader, once) && vkmps_last_error_code() == VKMPS_ERROR_PERMISSION_DENIED);
    disconnect_(owner);
    disconnect_(reader);
}

int main(int argc, char **argv)
{
    static float ones[COUNT], values[COUNT];
    const int priorities[] = {VKMPS_PRIORITY_LOW, VKMPS_PRIORITY_MEDIUM, VKMPS_PRIORITY_HIGH, VKMPS_PRIORITY_REALTIME};
    CHECK(argc == 3);
    for (int i = 0; i < COUNT; i++)
        ones[i] = 1;
    CHECK(!connect_("/nonexistent/vkmps.sock") && vkmps_last_error_code() == VKMPS_ERROR_NO_DAEMON);
    CHECK(!connect_with_limits_(NULL, 1, 0, 101) && vkmps_last_error_code() == VKMPS_ERROR_INVALID_ARGUMENT);
    vkmps_client_t *limited = connect_with_limits_(NULL, 1, 1 << 20, 50);
    CHECK(limited && !vkmps_alloc_buffer(limited, 2 << 20, VKMPS_BUFFER_USAGE_STORAGE));
    CHECK(vkmps_last_error_code() == VKMPS_ERROR_LIMIT_REACHED);
    vkmps_disconnect(limited);
    CHECK(!connect_with_priority_(NULL, 17) && vkmps_last_error_code() == VKMPS_ERROR_INVALID_ARGUMENT);
    for (int i = 0; i < 4; i++) {
        vkmps_client_t *client = connect_with_priority_(NULL, priorities[i]);
        CHECK(client);
        vkmps_program_t add = registered(client, argv[1]);
        CHECK(add);
        vkmps_buffer_t a = alloc_(client, sizeof ones, VKMPS_BUFFER_USAGE_STORAGE);
        vkmps_buffer_t b = alloc_(client, sizeof ones, VKMPS_BUFFER_USAGE_STORAGE);
        CHECK(a && b && a != b);
        CHECK(write_(client, a, 0, sizeof ones, ones) == VKMPS_OK && write_(client, b, 0, sizeof ones, ones) == VKMPS_OK);
        /* a = a + b, ten times: the buffer is input 0 and output 0. */
        const uint32_t n = COUNT;
        const vkmps_buffer_t in[] = {a, b};
        vkmps_submission_t last = 0;
        for (int round = 0; round < 10; round++) {
            vkmps_submission_t next = vkmps_submit(client, add, COUNT / 64, 1, 1, &n, sizeof n, in, 2, &a, 1);
            CHECK(next == last + 1);
            last = next;
        }
        CHECK(wait_(client, last, UINT64_MAX) == VKMPS_OK && poll_(client, last) == VKMPS_OK);
        CHECK(read_(client, a, 0, sizeof values, values) == VKMPS_OK);
        for (int k = 0; k < COUNT; k++)
            CHECK(values[k] == 11);
        CHECK(free_(client, b) == VKMPS_OK && free_(client, b) == VKMPS_ERROR_INVALID_HANDLE);
        disconnect_(client);
    }

    vkmps_client_t *client = connect_(NULL);
    CHECK(client);
    vkmps_program_t slow = registered(client, argv[2]);
    vkmps_buffer_t data = alloc_(client, LONG * sizeof(float), VKMPS_BUFFER_USAGE_STORAGE);
    CHECK(slow && data);
    const uint32_t iterations = 65535;
    vkmps_submission_t run =
        vkmps_submit(client, slow, LONG / 256, 1, 1, &iterations, sizeof iterations, NULL, 0, &data, 1);
    CHECK(run);
    vkmps_async_handle_t *handle =
        vkmps_submit_nb(client, slow, LONG / 256, 1, 1, &iterations, sizeof iterations, NULL, 0, NULL, 0);
    CHECK(!handle && vkmps_last_error_code() == VKMPS_ERROR_BINDING_MISMATCH);
    handle = vkmps_submit_nb(client, slow, LONG / 256, 1, 1, &iterations, sizeof iterations, NULL, 0, &data, 1);
    CHECK(handle);
    CHECK(poll_(client, run) == VKMPS_NOT_READY && wait_(client, run, 1) == VKMPS_ERROR_TIMEOUT);
    CHECK(submit_wait_(handle, 1) == VKMPS_ERROR_TIMEOUT);
    CHECK(submit_wait_(handle, 0) == VKMPS_OK && submit_wait_(handle, UINT64_MAX) == VKMPS_OK);
    CHECK(poll_(client, run) == VKMPS_OK && wait_(client, run, 0) == VKMPS_OK);
    handle_free_(handle);
    handle_free_(NULL);
    disconnect_(client);
    disconnect_(NULL);
    share();
    for (int code = VKMPS_ERROR_SESSION_OVER; code <= VKMPS_OK; code++)
        CHECK(strerror_(code) && strerror_(code)[0]);
    printf("every name is there\n");
    return 0;
}
