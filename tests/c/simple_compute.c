/* Adds two vectors on the shared device, waiting for the result and then again without waiting, and checks both.
 *
 *     simple_compute VECTOR_ADD.spv [SOCKET]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vkmps/client.h>

enum { COUNT = 10000, WORKGROUP = 64, ROUNDS = 16 };

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "simple_compute: %s: %s (%d)\n", what, vkmps_last_error(), vkmps_last_error_code());
    exit(1);
}

static void check(int result, const char *what)
{
    if (result != VKMPS_OK)
        fail(what);
}

static void *read_file(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    *size = (size_t)ftell(file);
    rewind(file);
    void *bytes = malloc(*size + 1);
    if (!bytes || fread(bytes, 1, *size, file) != *size) {
        perror(path);
        exit(1);
    }
    fclose(file);
    return bytes;
}

/* Whether c = a + b for a[i] = i, b[i] = add. */
static void check_sums(vkmps_client_t *client, vkmps_buffer_t c, float add)
{
    static float out[COUNT];
    check(vkmps_read_buffer(client, c, 0, sizeof out, out), "read");
    for (uint32_t i = 0; i < COUNT; i++) {
        if (out[i] != (float)i + add) {
            fprintf(stderr, "simple_compute: element %u is %f, not %f\n", i, out[i], (float)i + add);
            exit(1);
        }
    }
}

static void fill(vkmps_client_t *client, vkmps_buffer_t buffer, float step, float start)
{
    static float values[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        values[i] = start + step * (float)i;
    check(vkmps_write_buffer(client, buffer, 0, sizeof values, values), "write");
}

/* Misuse is an error with a text, never a crash. */
static void check_mistakes(vkmps_client_t *client, vkmps_program_t add, const vkmps_buffer_t *in, vkmps_buffer_t out)
{
    const uint32_t n = COUNT;
    float word = 0;
    vkmps_buffer_t freed = vkmps_alloc_buffer(client, 64, VKMPS_BUFFER_USAGE_STORAGE);
    int bad = vkmps_free_buffer(client, freed) != VKMPS_OK;
    bad |= vkmps_free_buffer(client, freed) != VKMPS_ERROR_INVALID_HANDLE;
    bad |= vkmps_read_buffer(client, out, sizeof(float) * COUNT, sizeof word, &word) != VKMPS_ERROR_OUT_OF_RANGE;
    bad |= vkmps_write_buffer(NULL, out, 0, 4, &word) != VKMPS_ERROR_INVALID_ARGUMENT;
    bad |= vkmps_write_buffer(client, out, 0, 4, NULL) != VKMPS_ERROR_INVALID_ARGUMENT;
    bad |= vkmps_wait(client, UINT64_MAX, 0) != VKMPS_ERROR_INVALID_HANDLE;
    bad |= vkmps_submit(client, add, 1, 1, 1, &n, sizeof n, in, 2, &freed, 1) != 0;
    bad |= vkmps_last_error_code() != VKMPS_ERROR_INVALID_HANDLE;
    bad |= vkmps_submit(client, add, 1, 1, 1, &n, sizeof n, in, 2, NULL, 0) != 0;
    bad |= vkmps_last_error_code() != VKMPS_ERROR_BINDING_MISMATCH;
    bad |= vkmps_submit(client, add, 1, 1, 1, NULL, 0, in, 2, &out, 1) != 0;
    bad |= vkmps_last_error_code() != VKMPS_ERROR_PUSH_CONSTANT_MISMATCH;
    bad |= strlen(vkmps_strerror(VKMPS_ERROR_TIMEOUT)) == 0 || strlen(vkmps_last_error()) == 0;
    if (bad)
        fail("a mistake was not reported as such");
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s VECTOR_ADD.spv [SOCKET]\n", argv[0]);
        return 2;
    }
    size_t size;
    void *spirv = read_file(argv[1], &size);
    vkmps_client_t *client = vkmps_connect(argc > 2 ? argv[2] : NULL);
    if (!client)
        fail("connect");
    vkmps_program_t add = vkmps_register_program(client, spirv, size, "main");
    if (!add)
        fail("register");
    free(spirv);

    vkmps_buffer_t in[2], out[ROUNDS];
    const uint32_t usage = VKMPS_BUFFER_USAGE_STORAGE | VKMPS_BUFFER_USAGE_HOST;
    for (int i = 0; i < 2; i++)
        if (!(in[i] = vkmps_alloc_buffer(client, sizeof(float) * COUNT, usage)))
            fail("allocate");
    for (int i = 0; i < ROUNDS; i++)
        if (!(out[i] = vkmps_alloc_buffer(client, sizeof(float) * COUNT, VKMPS_BUFFER_USAGE_STORAGE)))
            fail("allocate");
    const uint32_t n = COUNT, groups = (COUNT + WORKGROUP - 1) / WORKGROUP;

    fill(client, in[0], 1, 0);
    fill(client, in[1], 0, 5);
    vkmps_submission_t run = vkmps_submit(client, add, groups, 1, 1, &n, sizeof n, in, 2, out, 1);
    if (!run)
        fail("submit");
    check(vkmps_wait(client, run, 0), "wait");
    if (vkmps_poll(client, run) != VKMPS_OK)
        fail("poll");
    check_sums(client, out[0], 5);

    vkmps_async_handle_t *handles[ROUNDS];
    for (int i = 0; i < ROUNDS; i++)
        if (!(handles[i] = vkmps_submit_nb(client, add, groups, 1, 1, &n, sizeof n, in, 2, &out[i], 1)))
            fail("submit without waiting");
    for (int i = ROUNDS - 1; i >= 0; i--) {
        check(vkmps_submit_wait(handles[i], UINT64_MAX), "wait for a handle");
        vkmps_submit_handle_free(handles[i]);
        check_sums(client, out[i], 5);
    }

    check_mistakes(client, add, in, out[0]);
    for (int i = 0; i < ROUNDS; i++)
        check(vkmps_free_buffer(client, out[i]), "free");
    vkmps_disconnect(client);
    printf("simple_compute: %d sums of %d elements are right\n", ROUNDS + 1, COUNT);
    return 0;
}
