/* Reads a profile in a line format on standard input, builds it with libseccomp, and writes the BPF program to
 * standard output. The lines: `default ACTION`, `arch NAME`, `rule ACTION SYSCALL [INDEX OP A B]...`; actions and operators are
 * numbers. A rule that libseccomp refuses ends the program with status 3 and the reason on standard error.
 * `resolve NAME` lines are answered on standard error as `NAME x86_64 x86 x32`. */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fail(const char *what, const char *line, int rc)
{
	fprintf(stderr, "%s: %s: %s\n", what, line, strerror(-rc));
	return 3;
}

int main(void)
{
	static char line[4096];
	scmp_filter_ctx ctx = NULL;
	int rc;

	while (fgets(line, sizeof(line), stdin)) {
		char *save = NULL;
		char *verb = strtok_r(line, " \n", &save);
		if (!verb)
			continue;
		if (!strcmp(verb, "default")) {
			ctx = seccomp_init(strtoul(strtok_r(NULL, " \n", &save), NULL, 0));
			if (!ctx)
				return fail("seccomp_init", line, -EINVAL);
		} else if (!strcmp(verb, "arch")) {
			char *name = strtok_r(NULL, " \n", &save);
			rc = seccomp_arch_add(ctx, seccomp_arch_resolve_name(name));
			if (rc < 0 && rc != -EEXIST)
				return fail("seccomp_arch_add", name, rc);
		} else if (!strcmp(verb, "resolve")) {
			char *name = strtok_r(NULL, " \n", &save);
			fprintf(stderr, "%s %d %d %d\n", name,
				seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86_64, name),
				seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86, name),
				seccomp_syscall_resolve_name_arch(SCMP_ARCH_X32, name));
		} else if (!strcmp(verb, "rule")) {
			unsigned int count = 0;
			struct scmp_arg_cmp args[6];
			unsigned long action = strtoul(strtok_r(NULL, " \n", &save), NULL, 0);
			char *name = strtok_r(NULL, " \n", &save);
			char *word;
			int nr = seccomp_syscall_resolve_name(name);
			if (nr == __NR_SCMP_ERROR)
				continue;
			while ((word = strtok_r(NULL, " \n", &save)) && count < 6) {
				args[count].arg = strtoul(word, NULL, 0);
				args[count].op = strtoul(strtok_r(NULL, " \n", &save), NULL, 0);
				args[count].datum_a = strtoull(strtok_r(NULL, " \n", &save), NULL, 0);
				args[count].datum_b = strtoull(strtok_r(NULL, " \n", &save), NULL, 0);
				count++;
			}
			rc = seccomp_rule_add_array(ctx, action, nr, count, args);
			if (rc < 0)
				return fail("seccomp_rule_add", name, rc);
		}
	}
	if (!ctx)
		return 0;
	rc = seccomp_export_bpf(ctx, STDOUT_FILENO);
	if (rc < 0)
		return fail("seccomp_export_bpf", "", rc);
	return 0;
}
