%%% @doc Puts into words why an application could not be prepared. Every error of `prepare/3' has a
%%% `message' in its details: one line for people.
-module(bc_gitops_build_error).

-export([explained/1, format_error/1]).

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
format_error({_Kind, #{message := Message}}) ->
    Message;
format_error({app_not_built, #{app := App, found := []}}) ->
    io_lib:format("the build left no application at all, and ~s was asked for", [App]);
format_error({app_not_built, #{app := App, found := Found}}) ->
    io_lib:format("the build left ~ts, and ~s was asked for", [names(Found), App]);
format_error({bad_name, #{names := Names}}) ->
    io_lib:format("the build left what cannot be names of applications: ~ts", [names(Names)]);
format_error({modules_missing, #{app := App, modules := Modules}}) ->
    io_lib:format("the .app file of ~s names modules without a beam: ~ts", [App, names(Modules)]);
format_error({version_mismatch, #{spec := Spec, app := Version}}) ->
    io_lib:format("the spec says ~ts, the .app file says ~ts", [Spec, Version]);
format_error({beam_misnamed, #{app := App, files := Files}}) ->
    io_lib:format("beams of ~s are not named after their module: ~ts", [App, names(Files)]);
format_error({invalid_beam, #{app := App, kind := Kind}}) ->
    io_lib:format("a beam of ~s cannot be read: ~p", [App, Kind]);
format_error({too_many_modules, #{app := App, limit := Limit}}) ->
    io_lib:format("~s has more than ~b modules", [App, Limit]);
format_error({too_many_atoms, _}) ->
    "the VM has no room for the names of another application (its atom table is nearly full)";
format_error({link_outside, #{path := Path, target := Target}}) ->
    io_lib:format("~ts leads out of the repository, to ~ts", [filename:basename(Path), Target]);
format_error({special_file, #{path := Path}}) ->
    io_lib:format("~ts is neither a file nor a directory", [filename:basename(Path)]);
format_error({Limit, #{path := Path, limit := Most}}) ->
    At = filename:basename(Path),
    io_lib:format("~s: the build left more than ~b (at ~ts)", [Limit, Most, At]);
format_error({too_deep, #{path := Path}}) ->
    io_lib:format("directories are nested too deeply, or lead back to themselves, at ~ts", [Path]);
format_error({otp_mismatch, #{tools := Tools, running := Running}}) ->
    io_lib:format("the build tools on PATH run on OTP ~ts; this VM is OTP ~ts and cannot load "
                  "what they build", [Tools, Running]);
format_error({tool_version, #{program := Program}}) ->
    io_lib:format("~ts does not say which OTP it runs on", [Program]);
format_error({unwritable, #{path := Path, reason := Reason}}) ->
    io_lib:format("cannot write ~ts: ~ts", [Path, posix(Reason)]);
format_error({unreadable, #{path := Path, reason := Reason}}) ->
    io_lib:format("cannot read ~ts: ~ts", [Path, posix(Reason)]);
format_error({Kind, Details}) ->
    io_lib:format("~s: ~0tP", [Kind, Details, 20]).

names(Names) ->
    Shown = lists:sublist(Names, 10),
    More = [io_lib:format(" and ~b more", [length(Names) - 10]) || length(Names) > 10],
    [lists:join(", ", [io_lib:format("~ts", [Name]) || Name <- Shown]) | More].

posix(Reason) when is_atom(Reason) -> file:format_error(Reason);
posix(Reason) -> io_lib:format("~0tp", [Reason]).
