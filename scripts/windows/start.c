/* lanspread-start.exe: starts the daemon, whose lanspread.exe lies beside it, without a window, and opens its page in the browser.
 * With --background it starts the daemon only, and never shows a message. A daemon that runs already stays: the second one ends by itself.
 *
 * The daemon inherits nothing but its log, lanspread.log in the state directory; that of the last start becomes lanspread.old.log. */
#define WIN32_LEAN_AND_MEAN
#define _WIN32_WINNT 0x0603
#include <windows.h>

#include <shellapi.h>
#include <stdlib.h>
#include <wchar.h>

#define PATH_LIMIT 32768
/* How long the page may take to open before that counts as a failure. */
#define OPEN_LIMIT_MS 60000

static wchar_t dir[PATH_LIMIT], log_path[PATH_LIMIT], command[PATH_LIMIT], message[PATH_LIMIT];
static BOOL background;

static BOOL german(void) { return PRIMARYLANGID(GetUserDefaultUILanguage()) == LANG_GERMAN; }

/* Says what went wrong, and ends. */
static DECLSPEC_NORETURN void fail(const wchar_t *english, const wchar_t *deutsch, const wchar_t *detail) {
    if (!background) {
        _snwprintf(message, PATH_LIMIT - 1, L"%ls\n\n%ls", german() ? deutsch : english, detail);
        MessageBoxW(NULL, message, L"lanspread", MB_OK | MB_ICONERROR | MB_SETFOREGROUND);
    }
    ExitProcess(1);
}

/* A handle that the daemon may inherit. */
static HANDLE open_inheritable(const wchar_t *path, DWORD access, DWORD share, DWORD disposition) {
    SECURITY_ATTRIBUTES inherit = {sizeof inherit, NULL, TRUE};
    return CreateFileW(path, access, share, &inherit, disposition, FILE_ATTRIBUTE_NORMAL, NULL);
}

/* The log, or NULL where there is none to be had: of a daemon that runs already it is open, and others may only read it. */
static HANDLE open_log(void) {
    static wchar_t old[PATH_LIMIT];
    HANDLE log;
    DWORD length = GetEnvironmentVariableW(L"LOCALAPPDATA", log_path, PATH_LIMIT - 64);
    if (length == 0 || length >= PATH_LIMIT - 64) {
        log_path[0] = 0;
        return NULL;
    }
    wcscat(log_path, L"\\lanspread");
    CreateDirectoryW(log_path, NULL);
    wcscpy(old, log_path);
    wcscat(log_path, L"\\lanspread.log");
    wcscat(old, L"\\lanspread.old.log");
    MoveFileExW(log_path, old, MOVEFILE_REPLACE_EXISTING);
    log = open_inheritable(log_path, FILE_APPEND_DATA | SYNCHRONIZE, FILE_SHARE_READ, OPEN_ALWAYS);
    return log == INVALID_HANDLE_VALUE ? NULL : log;
}

/* Starts lanspread.exe with ARGUMENTS, without a window, in a process group of its own. With handles it inherits those two (and no other):
 * one for stdin and stdout, one for stderr. */
static HANDLE start(const wchar_t *arguments, HANDLE *handles) {
    STARTUPINFOEXW startup = {0};
    PROCESS_INFORMATION process;
    DWORD flags = CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP;
    SIZE_T size = 0;
    BOOL started;
    startup.StartupInfo.cb = sizeof startup.StartupInfo;
    if (handles) {
        InitializeProcThreadAttributeList(NULL, 1, 0, &size);
        startup.lpAttributeList = malloc(size);
        if (startup.lpAttributeList && InitializeProcThreadAttributeList(startup.lpAttributeList, 1, 0, &size) &&
            UpdateProcThreadAttribute(startup.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST, handles,
                                      (handles[0] == handles[1] ? 1 : 2) * sizeof *handles, NULL, NULL)) {
            startup.StartupInfo.cb = sizeof startup;
            startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
            startup.StartupInfo.hStdInput = startup.StartupInfo.hStdOutput = handles[0];
            startup.StartupInfo.hStdError = handles[1];
            flags |= EXTENDED_STARTUPINFO_PRESENT;
        } else {
            handles = NULL;
        }
    }
    _snwprintf(command, PATH_LIMIT - 1, L"\"%ls\\lanspread.exe\" %ls", dir, arguments);
    started = CreateProcessW(NULL, command, NULL, NULL, handles != NULL, flags, NULL, dir, &startup.StartupInfo, &process);
    if (!started) {
        wchar_t reason[512] = L"";
        FormatMessageW(FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS, NULL, GetLastError(), 0, reason, 511, NULL);
        wcsncat(command, L"\n", PATH_LIMIT - wcslen(command) - 1);
        wcsncat(command, reason, PATH_LIMIT - wcslen(command) - 1);
        fail(L"lanspread cannot be started.", L"lanspread kann nicht gestartet werden.", command);
    }
    CloseHandle(process.hThread);
    return process.hProcess;
}

int WINAPI wWinMain(HINSTANCE instance, HINSTANCE previous, PWSTR line, int show) {
    int count = 0, i;
    DWORD code = 1;
    wchar_t *slash, **arguments = CommandLineToArgvW(GetCommandLineW(), &count);
    HANDLE handles[2], page;
    (void)instance, (void)previous, (void)line, (void)show;
    for (i = 1; arguments && i < count; i++) background |= !wcscmp(arguments[i], L"--background");
    if (!GetModuleFileNameW(NULL, dir, PATH_LIMIT) || !(slash = wcsrchr(dir, L'\\')))
        fail(L"lanspread does not find its folder.", L"lanspread findet seinen Ordner nicht.", L"");
    *slash = 0;
    handles[0] = open_inheritable(L"NUL", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, OPEN_EXISTING);
    handles[1] = open_log();
    if (!handles[1]) handles[1] = handles[0];
    CloseHandle(start(L"run", handles));
    if (background) return 0;
    page = start(L"open --wait", NULL);
    if (WaitForSingleObject(page, OPEN_LIMIT_MS) != WAIT_OBJECT_0 || !GetExitCodeProcess(page, &code) || code != 0)
        fail(L"lanspread does not answer. The end of its log says why:", L"lanspread antwortet nicht. Das Ende des Protokolls sagt, warum:", log_path);
    return 0;
}
