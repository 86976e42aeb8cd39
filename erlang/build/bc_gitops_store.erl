%%% @doc The builds on disk: `store/KEY/lib/APP/…' with a `manifest' beside `lib'. A build is moved
%%% in whole and never changed afterwards; one that is removed is moved out first.
-module(bc_gitops_store).

-export([key/3, lookup/2, find/3, publish/4, keys/1, keys/2, delete/3, touch/2, intact/1, path/2]).

-export_type([build/0, manifest/0]).

-include_lib("kernel/include/file.hrl").

-type build() :: #{
    key := binary(),
    app := atom(),
    version := binary(),
    revision := binary(),
    tool := bc_gitops_build_tool:tool(),
    toolchain := binary(),        % what the tools said of themselves
    otp := binary(),              % the OTP release that built it
    path := binary(),
    libs := [bc_gitops_build_app:lib()],
    needs := [binary()]           % keys of what other entries of the store are part of libs
}.
%% The same with paths that begin at the store.
-type manifest() :: build().

-define(FORMAT, 1).
%% What else of our own doing changes what is built.
-define(OPTIONS, {deterministic, prod, 1}).

%% @doc The key of a build: name and commit for people, the rest in a digest.
-spec key(atom(), Revision :: binary(), Toolchain :: binary()) -> binary().
key(Name, Revision, Toolchain) ->
    Digest = erlang:md5(term_to_binary({Revision, Toolchain, ?OPTIONS})),
    <<(prefix(Name, Revision))/binary, (binary:part(hex(Digest), 0, 16))/binary>>.

prefix(Name, Revision) ->
    <<(atom_to_binary(Name))/binary, "-", (binary:part(Revision, 0, 10))/binary, "-">>.

%% @doc The build with this key.
-spec lookup(Workspace :: file:filename_all(), Key :: binary()) ->
    {ok, build()} | {error, not_found}.
lookup(Workspace, Key) ->
    case is_key(Key) andalso file:consult(filename:join(path(Workspace, Key), "manifest")) of
        {ok, [#{format := ?FORMAT, build := #{key := Key} = Manifest}]} ->
            {ok, absolute(Workspace, Manifest)};
        _ ->
            {error, not_found}
    end.

is_key(Key) ->
    re:run(Key, "\\A[a-z][a-zA-Z0-9_@.-]*\\z", [{capture, none}]) =:= match.

%% @doc All builds of a revision, whatever built them.
-spec find(Workspace :: file:filename_all(), atom(), Revision :: binary()) -> [build()].
find(Workspace, Name, Revision) ->
    Keys = [Key || Key <- keys(Workspace), is_prefix(prefix(Name, Revision), Key)],
    Builds = [Build || Key <- Keys, {ok, Build} <- [lookup(Workspace, Key)]],
    [Build || #{revision := R} = Build <- Builds, R =:= Revision].

%% @doc Moves a finished tree into the store. A build that is there already stays.
-spec publish(Workspace, Tree, Key :: binary(), build()) ->
    {ok, build()} | {error, {unwritable, map()}}
    when Workspace :: file:filename_all(), Tree :: file:filename_all().
publish(Workspace, Tree, Key, Build) ->
    Manifest = relative(Workspace, Build),
    Content = #{format => ?FORMAT, build => Manifest},
    Text = io_lib:format("%% -*- coding: utf-8 -*-~n~tp.~n", [Content]),
    File = filename:join(Tree, "manifest"),
    Steps = [
        fun() -> file:write_file(File, unicode:characters_to_binary(Text)) end,
        fun() -> bc_gitops_tree:sync(Tree) end,
        fun() -> filelib:ensure_path(path(Workspace, <<>>)) end,
        fun() -> move_in(Tree, Workspace, Key) end,
        fun() -> bc_gitops_tree:sync_directory(path(Workspace, <<>>)) end
    ],
    case run(Steps) of
        ok -> {ok, Build};
        {error, {unwritable, _}} = Error -> Error;
        {error, Reason} -> {error, {unwritable, #{path => File, reason => Reason}}}
    end.

run([]) -> ok;
run([Step | Rest]) ->
    case Step() of
        ok -> run(Rest);
        {error, _} = Error -> Error
    end.

%% Who was faster has the same; what was damaged since makes room.
move_in(Tree, Workspace, Key) ->
    case file:rename(Tree, path(Workspace, Key)) of
        {error, Reason} when Reason =:= eexist; Reason =:= enotempty ->
            case is_intact(Workspace, Key) of
                true -> ok;
                false -> replace(Tree, Workspace, Key)
            end;
        Result ->
            Result
    end.

is_intact(Workspace, Key) ->
    case lookup(Workspace, Key) of
        {ok, Build} -> intact(Build);
        {error, not_found} -> false
    end.

replace(Tree, Workspace, Key) ->
    case delete(Workspace, Key, filename:dirname(Tree)) of
        ok -> file:rename(Tree, path(Workspace, Key));
        {error, _} = Error -> Error
    end.

%% @doc Every key in the store.
-spec keys(Workspace :: file:filename_all()) -> [binary()].
keys(Workspace) ->
    case file:list_dir(path(Workspace, <<>>)) of
        {ok, Names} -> lists:sort([unicode:characters_to_binary(Name) || Name <- Names]);
        {error, _} -> []
    end.

%% @doc The keys of the builds of an application.
-spec keys(Workspace :: file:filename_all(), atom()) -> [binary()].
keys(Workspace, Name) ->
    [Key || Key <- keys(Workspace), is_prefix(<<(atom_to_binary(Name))/binary, "-">>, Key)].

is_prefix(Prefix, Key) ->
    binary:longest_common_prefix([Prefix, Key]) =:= byte_size(Prefix).

%% @doc Moves a build out of the store into Trash (a directory on the same disk) and removes it.
-spec delete(Workspace :: file:filename_all(), Key :: binary(), Trash :: file:filename_all()) ->
    ok | {error, {unwritable, map()}}.
delete(Workspace, Key, Trash) ->
    Target = filename:join(Trash, <<"removed-", Key/binary>>),
    ok = bc_gitops_tree:remove(Target),
    _ = filelib:ensure_path(Trash),
    case file:rename(path(Workspace, Key), Target) of
        ok -> bc_gitops_tree:remove(Target);
        {error, enoent} -> ok;
        {error, Reason} -> {error, {unwritable, #{path => path(Workspace, Key), reason => Reason}}}
    end.

%% @doc Notes that a build was asked for now; the ones asked for longest ago go first.
-spec touch(Workspace :: file:filename_all(), Key :: binary()) -> ok.
touch(Workspace, Key) ->
    %% On a disk that cannot be written nothing will be removed either.
    _ = file:change_time(filename:join(path(Workspace, Key), "manifest"), calendar:local_time()),
    ok.

%% @doc Whether the beams of a build are those of its manifest.
-spec intact(build()) -> boolean().
intact(#{libs := Libs}) ->
    lists:all(fun is_whole/1, Libs).

is_whole(#{path := Path, modules := Modules}) ->
    case bc_gitops_native:beam_scan([filename:join(Path, <<"ebin">>)]) of
        {ok, Beams} ->
            Found = maps:from_list([{Module, MD5} || {Module, _, MD5} <- Beams]),
            Found =:= maps:from_list([{atom_to_binary(M), H} || {M, H} <- maps:to_list(Modules)]);
        {error, _} ->
            false
    end.

%% @doc Where a build is; with the key `<<>>' the store itself.
-spec path(Workspace :: file:filename_all(), Key :: binary()) -> binary().
path(Workspace, Key) ->
    unicode:characters_to_binary(filename:join([Workspace, "store", Key])).

relative(Workspace, #{path := Path, libs := Libs} = Build) ->
    Root = path(Workspace, <<>>),
    Cut = fun(Absolute) -> string:prefix(Absolute, <<Root/binary, "/">>) end,
    Build#{path := Cut(Path), libs := [paths(Cut, hexed(Lib)) || Lib <- Libs]}.

absolute(Workspace, #{path := Path, libs := Libs} = Manifest) ->
    Root = path(Workspace, <<>>),
    Join = fun(Relative) -> filename:join(Root, Relative) end,
    Manifest#{path := Join(Path), libs := [paths(Join, unhexed(Lib)) || Lib <- Libs]}.

paths(Fun, Lib) ->
    maps:map(fun(Key, Path) when Key =:= path; Key =:= consolidated -> Fun(Path);
                (_, Value) -> Value
             end, Lib).

hexed(#{modules := Modules} = Lib) ->
    Lib#{modules := maps:map(fun(_, MD5) -> hex(MD5) end, Modules)}.

unhexed(#{modules := Modules} = Lib) ->
    Lib#{modules := maps:map(fun(_, Hex) -> <<(binary_to_integer(Hex, 16)):128>> end, Modules)}.

hex(Bytes) ->
    << <<(string:lowercase(integer_to_binary(N, 16)))/binary>> || <<N:4>> <= Bytes >>.
