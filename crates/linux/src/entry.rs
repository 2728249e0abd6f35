//! An entry point before libc's: [`crate::exe::run_from_read_only_mount`] for a program's first start, which is thrown away.
//!
//! A start of a static-pie program with glibc costs some sixty `cpuid` instructions (cache sizes, features), each of which
//! leaves a virtual machine, and a page fault for each page of relocations: 0.6 ms where the rest of `exec` takes 0.4. The
//! first of the two starts needs none of it. A program takes this entry with the linker's `--entry=sampan_entry`, and still
//! calls the function, which finds the work done, or reports what went wrong here.
//!
//! It runs before relocation, so it is written without any: registers, the stack, and data relative to `rip`. Which words
//! make it act is a guess on the safe side: `run`, and what begins with `exec`, `crea` or `moni`, anywhere on the command
//! line, verb or not. Anything unexpected leads to libc's `_start` with the stack and `rdx` as the kernel left them.

// argc, argv, a null, the environment and a null are on the stack (System V ABI, "Process Initialization").
std::arch::global_asm!(
    r#"
    .pushsection .text.sampan_entry, "ax", @progbits
    .globl sampan_entry
    .type sampan_entry, @function
sampan_entry:
    mov r12, rsp
    mov r13, rdx
    lea rbx, [rsp + 8]
2:  mov rsi, [rbx]
    test rsi, rsi
    jz 9f
    add rbx, 8
    // Four bytes of a short word may reach into the next one, never beyond the stack: its last eight bytes are zero.
    mov eax, [rsi]
    cmp eax, {run}
    je 3f
    cmp eax, {exec}
    je 3f
    cmp eax, {create}
    je 3f
    cmp eax, {monitor}
    jne 2b
    // On to the environment, for execveat.
3:  mov rsi, [rbx]
    add rbx, 8
    test rsi, rsi
    jnz 3b
    sub rsp, 256
    lea rdi, [rip + 7f]
    mov esi, {open_flags}
    mov eax, {open}
    syscall
    test eax, eax
    js 9f
    mov r14d, eax
    // Nothing more to do where the file's mount is read-only (f_flags of struct statfs).
    mov edi, r14d
    mov rsi, rsp
    mov eax, {fstatfs}
    syscall
    test eax, eax
    jnz 5f
    test byte ptr [rsp + 80], {read_only}
    jnz 5f
    mov edi, r14d
    lea rsi, [rip + 8f]
    mov edx, {tree_flags}
    mov eax, {open_tree}
    syscall
    test eax, eax
    js 5f
    mov r15d, eax
    // struct mount_attr: attr_set, then zeros.
    xor eax, eax
    mov [rsp + 8], rax
    mov [rsp + 16], rax
    mov [rsp + 24], rax
    mov qword ptr [rsp], {attributes}
    mov edi, r15d
    lea rsi, [rip + 8f]
    mov edx, {empty_path}
    mov r10, rsp
    mov r8d, 32
    mov eax, {mount_setattr}
    syscall
    test eax, eax
    jnz 4f
    mov edi, r15d
    lea rsi, [rip + 8f]
    lea rdx, [r12 + 8]
    mov r10, rbx
    mov r8d, {empty_path}
    mov eax, {execveat}
    syscall
4:  mov edi, r15d
    mov eax, {close}
    syscall
5:  mov edi, r14d
    mov eax, {close}
    syscall
9:  mov rsp, r12
    mov rdx, r13
    jmp _start
7:  .asciz "/proc/self/exe"
8:  .asciz ""
    .size sampan_entry, . - sampan_entry
    .popsection
    "#,
    run = const u32::from_le_bytes(*b"run\0"),
    exec = const u32::from_le_bytes(*b"exec"),
    create = const u32::from_le_bytes(*b"crea"),
    monitor = const u32::from_le_bytes(*b"moni"),
    open = const libc::SYS_open,
    fstatfs = const libc::SYS_fstatfs,
    open_tree = const libc::SYS_open_tree,
    mount_setattr = const libc::SYS_mount_setattr,
    execveat = const libc::SYS_execveat,
    close = const libc::SYS_close,
    open_flags = const libc::O_PATH | libc::O_CLOEXEC,
    read_only = const libc::ST_RDONLY,
    tree_flags = const libc::OPEN_TREE_CLONE | libc::O_CLOEXEC as u32 | libc::AT_EMPTY_PATH as u32,
    attributes = const libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID,
    empty_path = const libc::AT_EMPTY_PATH,
);
