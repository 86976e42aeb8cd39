%%% @doc Which builds stay, whoever removes others: `pins/HOLDER/OWNER' names the keys that OWNER (an
%%% application, as a rule) wants to be there. A holder is one node, known by its `state_path', so
%%% that nodes which share a workspace leave each other's builds alone, and builds stay for a node that
%%% is down, for applications that are down, and while a node boots.
%%%
%%% A holder that was silent for a month has lost its builds: making them anew is all it costs.
-module(bc_gitops_store_pins).

-include_lib("kernel/include/file.hrl").

-export([keep/3, keep_only/2, kept/1, beat/1]).

-define(SILENT, 30 * 24 * 3600).
-define(HOLDER, "holder").

%% @doc Owner wants these builds, and no others.
-spec keep(Workspace :: binary(), Owner :: atom(), Keys :: [binary()]) ->
    ok | {error, {unwritable, map()}}.
keep(Workspace, Owner, Keys) ->
    File = filename:join(own(Workspace), file_name(Owner)),
    Content = iolist_to_binary([[Key, $\n] || Key <- lists:usort(Keys)]),
    case {file:read_file(File), Content} of
        {{ok, Content}, _} -> ok;
        {{error, enoent}, <<>>} -> ok;
        {_, <<>>} -> deleted(file:delete(File), File);
        _ -> write(Workspace, File, Content)
    end.

deleted(ok, _File) -> ok;
deleted({error, Reason}, File) -> {error, {unwritable, #{path => File, reason => Reason}}}.

%% Not brought to the disk at once: who needs it after a power failure says it again at the next start.
write(Workspace, File, Content) ->
    Steps = [
        fun() -> filelib:ensure_dir(File) end,
        fun() -> beat(Workspace) end,
        fun() -> file:write_file(<<File/binary, ".new">>, Content) end,
        fun() -> file:rename(<<File/binary, ".new">>, File) end
    ],
    lists:foldl(fun(Step, ok) -> unwritable(Step(), File); (_, Error) -> Error end, ok, Steps).

unwritable(ok, _File) -> ok;
unwritable({error, Reason}, File) -> {error, {unwritable, #{path => File, reason => Reason}}}.

%% @doc Forgets the owners of this node that are not among these.
-spec keep_only(Workspace :: binary(), Owners :: [atom()]) -> ok.
keep_only(Workspace, Owners) ->
    Dir = own(Workspace),
    Kept = [list_to_binary(?HOLDER) | [file_name(Owner) || Owner <- Owners]],
    lists:foreach(fun(Name) -> _ = file:delete(filename:join(Dir, Name)) end, list(Dir) -- Kept).

%% @doc The keys that somebody wants to be there.
-spec kept(Workspace :: binary()) -> [binary()].
kept(Workspace) ->
    Own = own(Workspace),
    Root = filename:join(Workspace, "pins"),
    Holders = [filename:join(Root, Name) || Name <- list(Root)],
    Living = [Dir || Dir <- Holders, Dir =:= Own orelse is_heard_of(Dir)],
    lists:usort(lists:append([keys(filename:join(Dir, Name))
                              || Dir <- Living, Name <- list(Dir), is_owner(Name)])).

is_owner(Name) ->
    Name =/= <<?HOLDER>> andalso filename:extension(Name) =/= <<".new">>.

keys(File) ->
    case file:read_file(File) of
        {ok, Text} -> binary:split(Text, <<"\n">>, [global, trim_all]);
        {error, _} -> []
    end.

is_heard_of(Dir) ->
    case file:read_file_info(filename:join(Dir, ?HOLDER), [{time, posix}]) of
        {ok, #file_info{mtime = Time}} ->
            erlang:system_time(second) - Time < ?SILENT;
        {error, _} ->
            false
    end.

%% @doc Says that this node is still there, when it holds anything.
-spec beat(Workspace :: binary()) -> ok | {error, file:posix()}.
beat(Workspace) ->
    Dir = own(Workspace),
    File = filename:join(Dir, ?HOLDER),
    case {filelib:is_dir(Dir), file:change_time(File, calendar:local_time())} of
        {true, {error, enoent}} ->
            file:write_file(File, [element(1, holder()), $\n]);
        {true, Result} ->
            Result;
        {false, _} ->
            ok
    end.

own(Workspace) ->
    {Text, Machine} = holder(),
    Digest = bc_gitops_native:digest_bytes(sha256, [Machine, 0, Text]),
    Name = << <<(hd(integer_to_list(N, 16)))>> || <<N:4>> <= binary:part(Digest, 0, 8) >>,
    filename:join([Workspace, <<"pins">>, string:lowercase(Name)]).

holder() ->
    {ok, Machine} = inet:gethostname(),
    #{state_path := Path} = bc_gitops_config:current(),
    {Path, Machine}.

list(Dir) ->
    case file:list_dir(Dir) of
        {ok, Names} -> [unicode:characters_to_binary(Name) || Name <- Names];
        {error, _} -> []
    end.

%% Whatever a file system may read differently is written as %XX.
file_name(Owner) ->
    << <<(safe(Byte))/binary>> || <<Byte>> <= atom_to_binary(Owner) >>.

safe(Byte) when Byte >= $a, Byte =< $z; Byte >= $0, Byte =< $9; Byte =:= $_ -> <<Byte>>;
safe(Byte) -> <<"%", (binary:encode_hex(<<Byte>>))/binary>>.
