%%% @doc Puts into words why an application could not be prepared. Every error of `prepare/3' has a
%%% `message' in its details: one line for people.
-module(bc_gitops_build_error).

-import(bc_gitops_words, [names/1]).

-export([explained/1, format_error/1, format_known/1]).

%% @doc The same result; an error's details have a message.
-spec explained(Result) -> Result when Result :: {ok, term()} | {error, {atom(), map()}}.
explained({error, {_Kind, #{message := _}}} = Error) ->
    Error;
explained({error, {Kind, Details} = Reason}) ->
    {error, {Kind, Details#{message => unicode:characters_to_binary(format_error(Reason))}}};
explained({ok, _} = Ok) ->
    Ok.

%% @doc One line for people.
-spec format_error({atom(), map()}) -> iodata().
format_error(Reason) ->
    case format_known(Reason) of
        unknown -> bc_gitops_words:reason(Reason);
        Said -> Said
    end.

%% @doc One line for people; `unknown' for what is not of a build.
-spec format_known(term()) -> iodata() | unknown.
format_known({_Kind, #{message := Message}}) ->
    Message;
format_known({app_not_built, #{app := App, tool := release, found := []}}) ->
    io_lib:format("there is no application where a release has them (lib/NAME-VERSION/ebin, at its top or in a "
                  "directory there), and ~s was asked for; pack it as rebar3 tar and mix release do", [App]);
format_known({app_not_built, #{app := App, tool := release, found := Found}}) ->
    io_lib:format("the release has ~ts, and ~s was asked for; the name in the spec is to be that of the "
                  "application", [names(Found), App]);
format_known({app_not_built, #{app := App, found := []}}) ->
    io_lib:format("the build left no application at all, and ~s was asked for; look at the log of the build", [App]);
format_known({app_not_built, #{app := App, found := Found}}) ->
    io_lib:format("the build left ~ts, and ~s was asked for; the name in the spec is to be that of the "
                  "application", [names(Found), App]);
format_known({bad_name, #{names := Names}}) ->
    io_lib:format("the build left what cannot be names of applications: ~ts; rename them", [names(Names)]);
format_known({modules_missing, #{app := App, modules := Modules}}) ->
    io_lib:format("the .app file of ~s names modules without a beam: ~ts; build them, or take them out of it",
                  [App, names(Modules)]);
format_known({version_mismatch, #{spec := Spec, app := Version}}) ->
    io_lib:format("the spec says version ~ts, and the .app file of what was built says ~ts; make them the same",
                  [Spec, Version]);
format_known({beam_misnamed, #{app := App, files := Files}}) ->
    io_lib:format("beams of ~s are not named after their module: ~ts; look at what builds them",
                  [App, names(Files)]);
format_known({invalid_beam, #{app := App, kind := Kind}}) ->
    io_lib:format("a beam of ~s cannot be read (~ts); look at what builds it", [App, bc_gitops_words:reason(Kind)]);
format_known({too_many_modules, #{app := App, limit := Limit}}) ->
    io_lib:format("~s has more than ~b modules, and so many are not taken; split it", [App, Limit]);
format_known({too_many_atoms, _}) ->
    "the VM has no room for the names of another application (its atom table is nearly full); restart it, "
    "or raise its limit (+t)";
format_known({link_outside, #{path := Path, target := Target}}) ->
    io_lib:format("the link ~ts leads out of the repository, to ~ts; remove it, or put a copy there",
                  [filename:basename(Path), Target]);
format_known({special_file, #{path := Path}}) ->
    io_lib:format("~ts is neither a file nor a directory; remove it", [filename:basename(Path)]);
format_known({too_many_files, #{path := Path, limit := Most}}) ->
    io_lib:format("the build left more than ~b files (at ~ts); clean up what it does not need",
                  [Most, filename:basename(Path)]);
format_known({too_large, #{path := Path, limit := Most}}) ->
    io_lib:format("the build left more than ~b bytes (at ~ts); clean up what it does not need",
                  [Most, filename:basename(Path)]);
format_known({too_deep, #{path := Path}}) ->
    io_lib:format("directories are nested too deeply, or lead back to themselves, at ~ts; look at the links there",
                  [Path]);
format_known({otp_mismatch, #{tools := Tools, running := Running}}) ->
    io_lib:format("the build tools on PATH run on OTP ~ts; this VM, which is OTP ~ts, cannot load "
                  "what they build; put tools of this OTP first on PATH", [Tools, Running]);
format_known({tool_version, #{program := Program}}) ->
    io_lib:format("~ts does not say which OTP it runs on; look whether it works for this user", [Program]);
format_known({unwritable, #{path := Path, reason := Reason}}) ->
    io_lib:format("cannot write ~ts: ~ts; look at the disk and at the rights of that directory",
                  [Path, posix(Reason)]);
format_known({unreadable, #{path := Path, reason := Reason}}) ->
    io_lib:format("cannot read ~ts: ~ts; look at the disk and at its rights", [Path, posix(Reason)]);
format_known(_Reason) ->
    unknown.

posix(Reason) when is_atom(Reason) -> file:format_error(Reason);
posix(Reason) -> bc_gitops_words:reason(Reason).
