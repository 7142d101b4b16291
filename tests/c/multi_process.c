/* Several processes share the device: each connects after fork, keeps several submits under way and checks the sums.
 *
 *     multi_process VECTOR_ADD.spv [PROCESSES] [SOCKET]
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vkmps/client.h>

enum { COUNT = 4096, WORKGROUP = 64, DEPTH = 8, ROUNDS = 10, MOST_PROCESSES = 512 };

static _Noreturn void fail(const char *what)
{
    const char *why = vkmps_last_error();
    fprintf(stderr, "multi_process %ld: %s: %s (%d)\n", (long)getpid(), what, why, vkmps_last_error_code());
    exit(1);
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

static vkmps_buffer_t buffer(vkmps_client_t *client)
{
    const uint32_t usage = VKMPS_BUFFER_USAGE_STORAGE | VKMPS_BUFFER_USAGE_HOST;
    vkmps_buffer_t made = vkmps_alloc_buffer(client, sizeof(float) * COUNT, usage);
    if (!made)
        fail("allocate");
    return made;
}

/* One process: out[i] = a + b[i], where b differs by process, slot and round, so that foreign bytes are noticed. */
static void work(int process, const char *path, const char *socket)
{
    static float values[COUNT];
    size_t size;
    void *spirv = read_file(path, &size);
    vkmps_client_t *client = vkmps_connect(socket);
    if (!client)
        fail("connect");
    vkmps_program_t add = vkmps_register_program(client, spirv, size, NULL);
    if (!add)
        fail("register");
    free(spirv);

    vkmps_buffer_t a = buffer(client), b[DEPTH], out[DEPTH];
    vkmps_async_handle_t *handles[DEPTH];
    for (int i = 0; i < COUNT; i++)
        values[i] = (float)i;
    if (vkmps_write_buffer(client, a, 0, sizeof values, values) != VKMPS_OK)
        fail("write");
    for (int slot = 0; slot < DEPTH; slot++) {
        b[slot] = buffer(client);
        out[slot] = buffer(client);
    }
    const uint32_t n = COUNT, groups = COUNT / WORKGROUP;
    for (int round = 0; round < ROUNDS; round++) {
        for (int slot = 0; slot < DEPTH; slot++) {
            for (int i = 0; i < COUNT; i++)
                values[i] = (float)(process * 1000 + slot * 100 + round);
            if (vkmps_write_buffer(client, b[slot], 0, sizeof values, values) != VKMPS_OK)
                fail("write");
            const vkmps_buffer_t in[2] = {a, b[slot]};
            handles[slot] = vkmps_submit_nb(client, add, groups, 1, 1, &n, sizeof n, in, 2, &out[slot], 1);
            if (!handles[slot])
                fail("submit");
        }
        for (int slot = 0; slot < DEPTH; slot++) {
            if (vkmps_submit_wait(handles[slot], UINT64_MAX) != VKMPS_OK)
                fail("wait");
            vkmps_submit_handle_free(handles[slot]);
            if (vkmps_read_buffer(client, out[slot], 0, sizeof values, values) != VKMPS_OK)
                fail("read");
            for (int i = 0; i < COUNT; i++) {
                if (values[i] != (float)(i + process * 1000 + slot * 100 + round)) {
                    fprintf(stderr, "multi_process: process %d element %d is %f\n", process, i, values[i]);
                    exit(1);
                }
            }
        }
    }
    vkmps_disconnect(client);
    exit(0);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s VECTOR_ADD.spv [PROCESSES] [SOCKET]\n", argv[0]);
        return 2;
    }
    int processes = argc > 2 ? atoi(argv[2]) : 4;
    if (processes < 1 || processes > MOST_PROCESSES) {
        fprintf(stderr, "multi_process: 1 to %d processes\n", MOST_PROCESSES);
        return 2;
    }
    for (int process = 0; process < processes; process++) {
        pid_t child = fork();
        if (child < 0) {
            perror("fork");
            return 1;
        }
        if (child == 0)
            work(process, argv[1], argc > 3 ? argv[3] : NULL);
    }
    int failed = 0, status;
    while (wait(&status) > 0)
        failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    if (failed) {
        fprintf(stderr, "multi_process: %d of %d processes failed\n", failed, processes);
        return 1;
    }
    printf("multi_process: %d processes, %d submits each, all right\n", processes, DEPTH * ROUNDS);
    return 0;
}
