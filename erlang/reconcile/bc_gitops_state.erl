%%% @doc What is known on disk: one file per app and one about the repository.
%%%
%%% A file is written whole (temporary file, fsync, rename, fsync of the directory), so that a
%%% kill at any moment leaves the old or the new one. Each has a format number and a checksum; one
%%% that cannot be read is put aside and named, never guessed at.
-module(bc_gitops_state).

-include_lib("kernel/include/file.hrl").

-export([open/1, close/1]).
-export([read_apps/1, write_app/2, delete_app/2, read_repo/1, write_repo/2]).
-export([new/1, format_error/1, format_known/1]).

-export_type([app/0, revision/0, switch/0, quarantine/0, problem/0]).

%% One version of an app as it was or is to be switched on.
-type revision() :: #{
    version := binary(),
    spec := tuple(),
    source_fp := binary(),
    env_fp := binary(),
    key := binary() | undefined,            % of the build in the store
    revision := binary() | undefined,       % commit of its source, or what else names its content
    lock => bc_gitops_source:lock() | undefined
}.
%% Written before an app is touched, taken away afterwards. One that is still there at boot means that
%% the VM went away in the midst of it.
-type switch() :: #{action := bc_gitops_goal:step() | undefined, target := revision() | undefined,
                    at := integer(), vm := term()}.
-type quarantine() :: #{id := term(), reason := term(), at := integer()}.
-type app() :: #{
    name := atom(),
    origin := git | manual,
    dir := binary() | undefined,
    commit := binary() | undefined,
    status := bc_gitops_registry:app_state_name(),
    current := revision() | undefined,      % what runs by our doing
    previous := revision() | undefined,
    confirmed := revision() | undefined,    % what last ran well: a restart starts it
    switch := switch() | undefined,
    deaths := #{term() => pos_integer()},   % how often the VM went away while a revision was switched on
    quarantine := quarantine() | undefined,
    pinned := binary() | undefined,
    history := [map()]                      % newest first
}.
-type problem() :: #{file := binary(), reason := term()}.

-define(FORMAT, 1).
-define(MAGIC, "bc_gitops state ").

%% @doc The state of an app of which nothing is known yet.
-spec new(atom()) -> app().
new(Name) ->
    #{
        name => Name, origin => git, dir => undefined, commit => undefined, status => pending,
        current => undefined, previous => undefined, confirmed => undefined, switch => undefined,
        deaths => #{}, quarantine => undefined, pinned => undefined, history => []
    }.

%% @doc Makes the directories of Config and takes the locks of state_path and local_path.
-spec open(bc_gitops_config:config()) -> ok | {error, term()}.
open(#{state_path := StatePath, local_path := LocalPath}) ->
    steps([
        fun() -> private_dir(StatePath) end,
        fun() -> private_dir(apps_dir(StatePath)) end,
        fun() -> make_dir(LocalPath) end,
        fun() -> bc_gitops_lock:acquire(StatePath) end,
        fun() -> acquire_second(LocalPath, StatePath) end
    ]).

%% @doc Gives the locks back.
-spec close(bc_gitops_config:config()) -> ok.
close(#{state_path := StatePath, local_path := LocalPath}) ->
    ok = bc_gitops_lock:release(LocalPath),
    bc_gitops_lock:release(StatePath).

%% @doc Every app on disk. A file that cannot be read is renamed to `*.unreadable' and reported.
-spec read_apps(StatePath :: binary()) -> {ok, [app()], [problem()]}.
read_apps(StatePath) ->
    Dir = apps_dir(StatePath),
    All = [filename:join(Dir, File) || File <- list(Dir)],
    %% writes that were cut off
    _ = [file:delete(File) || File <- All, filename:extension(File) =:= <<".new">>],
    Files = [File || File <- All, filename:extension(File) =:= <<".app">>],
    {Apps, Problems} = lists:foldl(fun read_app/2, {[], []}, Files),
    {ok, Apps, Problems}.

-spec write_app(StatePath :: binary(), app()) -> ok | {error, {state_not_written, map()}}.
write_app(StatePath, #{name := Name} = App) ->
    write(app_file(StatePath, Name), App).

-spec delete_app(StatePath :: binary(), atom()) -> ok | {error, {state_not_written, map()}}.
delete_app(StatePath, Name) ->
    File = app_file(StatePath, Name),
    case file:delete(File) of
        ok -> sync_dir(File);
        {error, enoent} -> ok;
        {error, Reason} -> not_written(File, Reason)
    end.

%% @doc What is known about the repository: `#{}' when nothing is.
-spec read_repo(StatePath :: binary()) -> map().
read_repo(StatePath) ->
    case read(repo_file(StatePath)) of
        {ok, Repo} when is_map(Repo) -> Repo;
        _ -> #{}
    end.

-spec write_repo(StatePath :: binary(), map()) -> ok | {error, {state_not_written, map()}}.
write_repo(StatePath, Repo) ->
    write(repo_file(StatePath), Repo).

%% @doc One sentence.
-spec format_error(term()) -> iodata().
format_error(Reason) ->
    case format_known(Reason) of
        unknown -> bc_gitops_words:reason(Reason);
        Said -> Said
    end.

%% @doc One sentence; `unknown' for what is not of the disk.
-spec format_known(term()) -> iodata() | unknown.
format_known({locked, #{path := Path, holder := #{os_pid := OsPid, node := Node}}}) ->
    io_lib:format("~ts is in use by the node ~ts (process ~b): "
                  "give each node its own state_path and local_path", [Path, Node, OsPid]);
format_known({lock_failed, #{path := Path, reason := Reason}}) ->
    io_lib:format("~ts cannot be locked: ~ts; look at its owner and its rights", [Path, posix(Reason)]);
format_known({state_not_written, #{file := File, reason := Reason}}) ->
    io_lib:format("~ts was not written: ~ts; what runs goes on, and is not known after a restart until it is "
                  "written", [File, posix(Reason)]);
format_known({bad_directory, #{path := Path, reason := writable_by_others}}) ->
    io_lib:format("~ts may be written by every user of this machine: chmod o-w it", [Path]);
format_known({bad_directory, #{path := Path, reason := Reason}}) ->
    io_lib:format("~ts cannot be used: ~ts; look at its owner and its rights, or configure another",
                  [Path, posix(Reason)]);
format_known(_Other) ->
    unknown.

posix(Reason) when is_atom(Reason) -> file:format_error(Reason);
posix(Reason) -> bc_gitops_words:reason(Reason).

%% directories

steps([]) ->
    ok;
steps([Step | Rest]) ->
    case Step() of
        ok -> steps(Rest);
        {error, Reason} -> {error, Reason}
    end.

acquire_second(Path, Path) ->
    ok;
acquire_second(LocalPath, StatePath) ->
    case bc_gitops_lock:acquire(LocalPath) of
        ok ->
            ok;
        {error, Reason} ->
            ok = bc_gitops_lock:release(StatePath),
            {error, Reason}
    end.

private_dir(Dir) ->
    case filelib:is_dir(Dir) of
        true -> not_for_all(Dir);
        false -> steps([fun() -> make_dir(Dir) end, fun() -> chmod(Dir) end])
    end.

make_dir(Dir) ->
    case filelib:ensure_path(Dir) of
        ok -> ok;
        {error, Reason} -> bad_directory(Dir, Reason)
    end.

chmod(Dir) ->
    case file:change_mode(Dir, 8#700) of
        ok -> ok;
        {error, Reason} -> bad_directory(Dir, Reason)
    end.

not_for_all(Dir) ->
    case file:read_file_info(Dir, [raw]) of
        {ok, #file_info{mode = Mode}} when Mode band 8#002 =/= 0 ->
            bad_directory(Dir, writable_by_others);
        {ok, _Info} ->
            ok;
        {error, Reason} ->
            bad_directory(Dir, Reason)
    end.

bad_directory(Dir, Reason) ->
    {error, {bad_directory, #{path => Dir, reason => Reason}}}.

apps_dir(StatePath) ->
    filename:join(StatePath, <<"apps">>).

list(Dir) ->
    case file:list_dir(Dir) of
        {ok, Files} -> [unicode:characters_to_binary(File) || File <- lists:sort(Files)];
        {error, _} -> []
    end.

repo_file(StatePath) ->
    filename:join(StatePath, <<"repo.state">>).

%% Any character that a file system may read differently, capital letters too, is written as %XX.
app_file(StatePath, Name) ->
    Safe = << <<(safe(Byte))/binary>> || <<Byte>> <= atom_to_binary(Name) >>,
    filename:join(apps_dir(StatePath), <<Safe/binary, ".app">>).

safe(Byte) when Byte >= $a, Byte =< $z; Byte >= $0, Byte =< $9; Byte =:= $_ -> <<Byte>>;
safe(Byte) -> <<"%", (binary:encode_hex(<<Byte>>))/binary>>.

%% files

read_app(File, {Apps, Problems}) ->
    case read(File) of
        {ok, #{name := Name} = App} when is_atom(Name) ->
            {[maps:map(fun complete/2, maps:merge(new(Name), App)) | Apps], Problems};
        {ok, _Other} ->
            {Apps, [put_aside(File, not_an_app) | Problems]};
        {error, {unknown_format, _} = Reason} ->
            {Apps, [#{file => File, reason => Reason} | Problems]};
        {error, Reason} ->
            {Apps, [put_aside(File, Reason) | Problems]}
    end.

%% Specifications of an older version have fewer fields.
complete(switch, #{target := Target} = Switch) ->
    Switch#{target := complete(current, Target)};
complete(Which, #{spec := Spec} = Revision) when
    Which =:= current; Which =:= previous; Which =:= confirmed
->
    Revision#{spec := bc_gitops_runtime:spec(Spec)};
complete(_Key, Value) ->
    Value.

put_aside(File, Reason) ->
    _ = file:rename(File, <<File/binary, ".unreadable">>),
    #{file => File, reason => Reason}.

%% The directory is ours and private: what it holds is trusted as far as its checksum goes.
read(File) ->
    case file:read_file(File) of
        {ok, <<?MAGIC, Rest/binary>>} -> decode(string:split(Rest, "\n"));
        {ok, _} -> {error, not_a_state_file};
        {error, Reason} -> {error, Reason}
    end.

decode([Format, <<Sum:32, Body/binary>>]) ->
    case {Format =:= integer_to_binary(?FORMAT), erlang:crc32(Body)} of
        {true, Sum} -> {ok, binary_to_term(Body)};
        {true, _} -> {error, bad_checksum};
        {false, _} -> {error, {unknown_format, Format}}
    end;
decode(_) ->
    {error, truncated}.

write(File, Term) ->
    Body = term_to_binary(Term, [compressed]),
    Data = [?MAGIC, integer_to_binary(?FORMAT), "\n", <<(erlang:crc32(Body)):32>>, Body],
    Temporary = <<File/binary, ".new">>,
    Done = steps([
        fun() -> write_synced(Temporary, Data) end,
        fun() -> file:rename(Temporary, File) end
    ]),
    case Done of
        ok -> sync_dir(File);
        {error, Reason} -> not_written(File, Reason)
    end.

write_synced(File, Data) ->
    case file:open(File, [write, raw, binary]) of
        {ok, Fd} ->
            Written = steps([fun() -> file:write(Fd, Data) end, fun() -> file:sync(Fd) end]),
            Closed = file:close(Fd),
            steps([fun() -> Written end, fun() -> Closed end]);
        {error, Reason} ->
            {error, Reason}
    end.

%% The rename itself is on disk only when the directory is.
sync_dir(File) ->
    case file:open(filename:dirname(File), [directory, raw, read]) of
        {ok, Fd} ->
            _ = file:sync(Fd),
            _ = file:close(Fd),
            ok;
        {error, Reason} ->
            not_written(File, Reason)
    end.

not_written(File, Reason) ->
    {error, {state_not_written, #{file => File, reason => Reason}}}.
