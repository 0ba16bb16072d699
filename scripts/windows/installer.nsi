; The installer of lanspread for one user, without an administrator's rights. scripts/build-windows builds it:
;   makensis -DVERSION=0.1.0 -DPROGRAM=DIRECTORY -DOUTFILE=FILE installer.nsi
; DIRECTORY holds lanspread.exe, lanspread-start.exe, README.txt and the licences as text for Windows; LICENSE.txt is the one that is shown.
;
; On the command line: /S asks nothing, /AUTOSTART also starts lanspread with Windows, /D=DIRECTORY (last, without quotes) installs there.
; The uninstaller knows /S, and /PURGE, which removes identity and settings as well. Neither ever removes a game.

Target amd64-unicode
Unicode true
ManifestDPIAware true
RequestExecutionLevel user
SetCompressor /SOLID lzma
SetDateSave on

!include MUI2.nsh
!include FileFunc.nsh
!include LogicLib.nsh
!include Sections.nsh
!include WinVer.nsh

!define UNINSTALL_KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\lanspread"
!define RUN_KEY "Software\Microsoft\Windows\CurrentVersion\Run"
!define STATE "$LOCALAPPDATA\lanspread"
!define GAMES "$PROFILE\Games\lanspread"

Name "lanspread"
OutFile "${OUTFILE}"
InstallDir "$LOCALAPPDATA\Programs\lanspread"
InstallDirRegKey HKCU "${UNINSTALL_KEY}" "InstallLocation"
BrandingText "lanspread ${VERSION}"
VIProductVersion "${VERSION}.0"
VIFileVersion "${VERSION}.0"
VIAddVersionKey /LANG=0 ProductName "lanspread"
VIAddVersionKey /LANG=0 ProductVersion "${VERSION}"
VIAddVersionKey /LANG=0 FileVersion "${VERSION}"
VIAddVersionKey /LANG=0 FileDescription "lanspread ${VERSION}, installer"
VIAddVersionKey /LANG=0 CompanyName "lanspread"
VIAddVersionKey /LANG=0 LegalCopyright "MIT or Apache-2.0"

!define MUI_ABORTWARNING
!define MUI_COMPONENTSPAGE_SMALLDESC
!define MUI_FINISHPAGE_NOAUTOCLOSE
!define MUI_FINISHPAGE_RUN "$INSTDIR\lanspread-start.exe"
!define MUI_FINISHPAGE_RUN_NOTCHECKED
!insertmacro MUI_PAGE_LICENSE "${PROGRAM}/LICENSE.txt"
!insertmacro MUI_PAGE_COMPONENTS
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_INSTFILES
!insertmacro MUI_PAGE_FINISH
!insertmacro MUI_UNPAGE_COMPONENTS
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"
!insertmacro MUI_LANGUAGE "German"

!macro TEXT NAME ENGLISH DEUTSCH
    LangString ${NAME} ${LANG_ENGLISH} "${ENGLISH}"
    LangString ${NAME} ${LANG_GERMAN} "${DEUTSCH}"
!macroend
!insertmacro TEXT PROGRAM_NAME "lanspread (required)" "lanspread (erforderlich)"
!insertmacro TEXT PROGRAM_ABOUT "The program, and its entries in the start menu." "Das Programm und seine Einträge im Startmenü."
!insertmacro TEXT AUTOSTART_NAME "Start with Windows" "Mit Windows starten"
!insertmacro TEXT AUTOSTART_ABOUT "Starts lanspread in the background when you log in." "Startet lanspread im Hintergrund, wenn Sie sich anmelden."
!insertmacro TEXT FIREWALL_NAME "Firewall rule (administrator)" "Firewall-Regel (Administrator)"
!insertmacro TEXT FIREWALL_ABOUT "Windows asks for an administrator now; without the rule it asks at the first start." "Windows fragt jetzt nach einem Administrator; ohne die Regel fragt es beim ersten Start."
!insertmacro TEXT UN_FIREWALL_ABOUT "Windows asks for an administrator." "Windows fragt nach einem Administrator."
!insertmacro TEXT FIREWALL_FAILED "The firewall rule was not made. Windows will ask at the first start of lanspread." "Die Firewall-Regel wurde nicht angelegt. Windows fragt beim ersten Start von lanspread."
!insertmacro TEXT FIREWALL_KEPT "The firewall rule stays: Windows did not let it be removed." "Die Firewall-Regel bleibt: Windows ließ sie nicht entfernen."
!insertmacro TEXT STOP_NAME "Stop lanspread" "lanspread beenden"
!insertmacro TEXT BAD_DIRECTORY "The program cannot lie in, or around, the folder of lanspread's settings or of its games." "Das Programm kann nicht im Ordner von lanspreads Einstellungen oder Spielen liegen, auch nicht darüber."
!insertmacro TEXT STILL_RUNS "lanspread still runs. Stop it, then try again." "lanspread läuft noch. Beenden Sie es und versuchen Sie es dann noch einmal."
!insertmacro TEXT TOO_OLD "lanspread needs a 64-bit Windows 10 or newer." "lanspread braucht ein 64-Bit-Windows 10 oder neuer."
!insertmacro TEXT UN_PROGRAM_NAME "lanspread" "lanspread"
!insertmacro TEXT UN_PROGRAM_ABOUT "The program. Your games stay where they are." "Das Programm. Ihre Spiele bleiben, wo sie sind."
!insertmacro TEXT PURGE_NAME "Identity and settings" "Identität und Einstellungen"
!insertmacro TEXT PURGE_ABOUT "Key, settings and log of lanspread in ${STATE}. Games stay." "Schlüssel, Einstellungen und Protokoll von lanspread in ${STATE}. Spiele bleiben."

; Leaves in $R0 whether the directories A and B are the same, or one lies in the other.
!macro OVERLAP A B
    StrCpy $R1 "${A}\"
    StrCpy $R2 "${B}\"
    StrLen $R3 $R1
    StrLen $R4 $R2
    StrCpy $R5 $R1 $R4
    StrCpy $R6 $R2 $R3
    ${If} $R5 == $R2
    ${OrIf} $R6 == $R1
        StrCpy $R0 1
    ${EndIf}
!macroend

; Leaves in $R0 whether the program must not be installed in $INSTDIR.
Function CheckDirectory
    StrCpy $R0 0
    GetFullPathName $R7 $INSTDIR
    ${If} $R7 == ""
        StrCpy $R7 $INSTDIR
    ${EndIf}
    !insertmacro OVERLAP "$R7" "${STATE}"
    !insertmacro OVERLAP "$R7" "${GAMES}"
FunctionEnd

; Asks a running daemon to stop, and waits until nobody holds the program. Ends the installation with code 3 where somebody does.
!macro STOP_DAEMON UN
Function ${UN}StopDaemon
    ${IfNot} ${FileExists} "$INSTDIR\lanspread.exe"
        Return
    ${EndIf}
  again:
    nsExec::Exec /TIMEOUT=30000 '"$INSTDIR\lanspread.exe" stop'
    Pop $0
    ${For} $1 1 40
        ClearErrors
        FileOpen $2 "$INSTDIR\lanspread.exe" a
        ${IfNot} ${Errors}
            FileClose $2
            Return
        ${EndIf}
        Sleep 250
    ${Next}
    MessageBox MB_RETRYCANCEL|MB_ICONEXCLAMATION "$(STILL_RUNS)" /SD IDCANCEL IDRETRY again
    SetErrorLevel 3
    Quit
FunctionEnd
!macroend
!insertmacro STOP_DAEMON ""
!insertmacro STOP_DAEMON "un."

; Runs COMMANDS of a shell as an administrator, whom Windows asks for; the error flag says whether that was refused.
!macro AS_ADMINISTRATOR COMMANDS
    ClearErrors
    ExecShellWait "runas" "$SYSDIR\cmd.exe" '/c ${COMMANDS}' SW_HIDE
!macroend

!define NETSH "$SYSDIR\netsh.exe advfirewall firewall"
; What Windows made of an answer to its own question goes, too: a rule that blocks would win.
!define FORGET '${NETSH} delete rule name=all dir=in program="$INSTDIR\lanspread.exe"'
!define ALLOW '${NETSH} add rule name=lanspread dir=in action=allow protocol=UDP profile=private,public program="$INSTDIR\lanspread.exe"'

; Those of both languages: an earlier installation may have been in the other one.
!macro DELETE_ENTRIES
    Delete "$SMPROGRAMS\lanspread\lanspread.lnk"
    Delete "$SMPROGRAMS\lanspread\Stop lanspread.lnk"
    Delete "$SMPROGRAMS\lanspread\lanspread beenden.lnk"
    RMDir "$SMPROGRAMS\lanspread"
!macroend

Section "$(PROGRAM_NAME)" PROGRAM_SECTION
    SectionIn RO
    Call CheckDirectory
    ${If} $R0 = 1
        MessageBox MB_OK|MB_ICONSTOP "$(BAD_DIRECTORY)" /SD IDOK
        SetErrorLevel 2
        Quit
    ${EndIf}
    Call StopDaemon
    SetOutPath "$INSTDIR"
    File "${PROGRAM}/lanspread.exe"
    File "${PROGRAM}/lanspread-start.exe"
    File "${PROGRAM}/README.txt"
    File "${PROGRAM}/GUIDE.txt"
    File "${PROGRAM}/LICENSE-APACHE.txt"
    File "${PROGRAM}/LICENSE-MIT.txt"
    File "${PROGRAM}/THIRD-PARTY.txt"
    WriteUninstaller "$INSTDIR\uninstall.exe"

    !insertmacro DELETE_ENTRIES
    CreateDirectory "$SMPROGRAMS\lanspread"
    CreateShortcut "$SMPROGRAMS\lanspread\lanspread.lnk" "$INSTDIR\lanspread-start.exe"
    CreateShortcut "$SMPROGRAMS\lanspread\$(STOP_NAME).lnk" "$INSTDIR\lanspread.exe" "stop" "" "" SW_SHOWMINIMIZED

    WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayName" "lanspread"
    WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayVersion" "${VERSION}"
    WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayIcon" "$INSTDIR\lanspread-start.exe"
    WriteRegStr HKCU "${UNINSTALL_KEY}" "Publisher" "lanspread"
    WriteRegStr HKCU "${UNINSTALL_KEY}" "InstallLocation" "$INSTDIR"
    WriteRegStr HKCU "${UNINSTALL_KEY}" "UninstallString" '"$INSTDIR\uninstall.exe"'
    WriteRegStr HKCU "${UNINSTALL_KEY}" "QuietUninstallString" '"$INSTDIR\uninstall.exe" /S'
    WriteRegDWORD HKCU "${UNINSTALL_KEY}" "NoModify" 1
    WriteRegDWORD HKCU "${UNINSTALL_KEY}" "NoRepair" 1
    ${GetSize} "$INSTDIR" "/S=0K" $0 $1 $2
    WriteRegDWORD HKCU "${UNINSTALL_KEY}" "EstimatedSize" $0

    ; What is not ticked goes, so that an installation over an older one can change it.
    DeleteRegValue HKCU "${RUN_KEY}" "lanspread"
SectionEnd

Section /o "$(AUTOSTART_NAME)" AUTOSTART_SECTION
    WriteRegStr HKCU "${RUN_KEY}" "lanspread" '"$INSTDIR\lanspread-start.exe" --background'
SectionEnd

Section /o "$(FIREWALL_NAME)" FIREWALL_SECTION
    !insertmacro AS_ADMINISTRATOR '${FORGET} & ${ALLOW}'
    ${If} ${Errors}
        MessageBox MB_OK|MB_ICONINFORMATION "$(FIREWALL_FAILED)" /SD IDOK
    ${Else}
        WriteRegDWORD HKCU "${UNINSTALL_KEY}" "FirewallRule" 1
    ${EndIf}
SectionEnd

Function .onInit
    ${IfNot} ${AtLeastWin10}
        MessageBox MB_OK|MB_ICONSTOP "$(TOO_OLD)" /SD IDOK
        SetErrorLevel 2
        Quit
    ${EndIf}
    ReadRegStr $0 HKCU "${RUN_KEY}" "lanspread"
    ${GetParameters} $1
    ClearErrors
    ${GetOptions} $1 "/AUTOSTART" $2
    ${IfNot} ${Errors}
    ${OrIf} $0 != ""
        !insertmacro SelectSection ${AUTOSTART_SECTION}
    ${EndIf}
FunctionEnd

Function .onVerifyInstDir
    Call CheckDirectory
    ${If} $R0 = 1
        Abort
    ${EndIf}
FunctionEnd

!insertmacro MUI_FUNCTION_DESCRIPTION_BEGIN
    !insertmacro MUI_DESCRIPTION_TEXT ${PROGRAM_SECTION} "$(PROGRAM_ABOUT)"
    !insertmacro MUI_DESCRIPTION_TEXT ${AUTOSTART_SECTION} "$(AUTOSTART_ABOUT)"
    !insertmacro MUI_DESCRIPTION_TEXT ${FIREWALL_SECTION} "$(FIREWALL_ABOUT)"
!insertmacro MUI_FUNCTION_DESCRIPTION_END

; Before the program goes: its path names the rule.
Section /o "un.$(FIREWALL_NAME)" UN_FIREWALL_SECTION
    !insertmacro AS_ADMINISTRATOR '${FORGET}'
    ${If} ${Errors}
        MessageBox MB_OK|MB_ICONINFORMATION "$(FIREWALL_KEPT)" /SD IDOK
    ${EndIf}
SectionEnd

Section "un.$(UN_PROGRAM_NAME)" UN_PROGRAM_SECTION
    SectionIn RO
    Call un.StopDaemon
    Delete "$INSTDIR\lanspread.exe"
    Delete "$INSTDIR\lanspread-start.exe"
    Delete "$INSTDIR\README.txt"
    Delete "$INSTDIR\GUIDE.txt"
    Delete "$INSTDIR\LICENSE-APACHE.txt"
    Delete "$INSTDIR\LICENSE-MIT.txt"
    Delete "$INSTDIR\THIRD-PARTY.txt"
    Delete "$INSTDIR\uninstall.exe"
    ; Only if nothing else lies in it.
    RMDir "$INSTDIR"
    !insertmacro DELETE_ENTRIES
    DeleteRegValue HKCU "${RUN_KEY}" "lanspread"
    DeleteRegKey HKCU "${UNINSTALL_KEY}"
SectionEnd

; By name: a game directory that lies in it, or a key that its user keeps there, stays.
Section /o "un.$(PURGE_NAME)" PURGE_SECTION
    Delete "${STATE}\identity.pem"
    Delete "${STATE}\lock"
    Delete "${STATE}\catalog-cache.json"
    Delete "${STATE}\control.json"
    Delete "${STATE}\page.json"
    Delete "${STATE}\programs.json"
    Delete "${STATE}\.lanspread-*.tmp"
    Delete "${STATE}\.catalog-*.tmp"
    Delete "${STATE}\.control-*.tmp"
    Delete "${STATE}\.identity-*.tmp"
    Delete "${STATE}\config.toml"
    Delete "${STATE}\lanspread.log"
    Delete "${STATE}\lanspread.old.log"
    RMDir "${STATE}"
SectionEnd

Function un.onInit
    ${GetParameters} $1
    ClearErrors
    ${GetOptions} $1 "/PURGE" $2
    ${IfNot} ${Errors}
        !insertmacro SelectSection ${PURGE_SECTION}
    ${EndIf}
    ; Only where the installer made a rule, and never without asking.
    ClearErrors
    ReadRegDWORD $0 HKCU "${UNINSTALL_KEY}" "FirewallRule"
    ${If} ${Errors}
        SectionSetText ${UN_FIREWALL_SECTION} ""
    ${ElseIfNot} ${Silent}
        !insertmacro SelectSection ${UN_FIREWALL_SECTION}
    ${EndIf}
FunctionEnd

!insertmacro MUI_UNFUNCTION_DESCRIPTION_BEGIN
    !insertmacro MUI_DESCRIPTION_TEXT ${UN_FIREWALL_SECTION} "$(UN_FIREWALL_ABOUT)"
    !insertmacro MUI_DESCRIPTION_TEXT ${UN_PROGRAM_SECTION} "$(UN_PROGRAM_ABOUT)"
    !insertmacro MUI_DESCRIPTION_TEXT ${PURGE_SECTION} "$(PURGE_ABOUT)"
!insertmacro MUI_UNFUNCTION_DESCRIPTION_END
