%%% @doc The builds on disk: `store/KEY/lib/APP/…', beside `lib' the list of its files with their
%%% digests (`files', see the native room `store'), what the build is (`manifest'), and which other
%%% sources meant it (`sources'). A build is moved in whole and never changed afterwards; one that is
%%% removed is moved out first.
%%%
%%% `manifest' is a first line, the SHA-256 of the rest, and the rest, an external term. Format 1 was
%%% text without digests of files: {@link bc_gitops_store_check} makes such a build one of today.
-module(bc_gitops_store).

-export([key/3, lookup/2, find/3, built_from/3, note_source/3, publish/4, seal/2]).
-export([keys/1, keys/2, delete/3, touch/2, touched/2, known/2, path/2]).
-export([architecture/0, options/0, source_id/1]).

-export_type([build/0]).

-include("bc_gitops.hrl").
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
    needs := [binary()],          % keys of what other entries of the store are part of libs
    arch => binary(),             % the machine that it was built for
    options => binary(),          % how it was built, as far as that changes what comes out
    source => binary(),           % what it was first built from: source_id/1
    files => binary(),            % SHA-256 of the list of its files; none: format 1
    size => non_neg_integer(),    % bytes of its files
    lock => bc_gitops_source:lock(),
    atom() => term()
}.

-define(MAGIC, "bc_gitops build 2\n").
%% What of our own doing changes what is built.
-define(OPTIONS, {deterministic, prod, 1}).

%% @doc The key of a build: name and revision for people, the rest in a digest. Toolchain is whatever
%% else tells two builds apart; machine and options are counted in here.
-spec key(atom(), Revision :: binary(), Toolchain :: binary()) -> binary().
key(Name, Revision, Toolchain) ->
    What = {Revision, Toolchain, architecture(), options()},
    Digest = bc_gitops_native:digest_bytes(sha256, term_to_binary(What)),
    <<(prefix(Name, Revision))/binary, (binary:part(hex(Digest), 0, 16))/binary>>.

prefix(Name, Revision) ->
    Short = binary:part(Revision, 0, min(10, byte_size(Revision))),
    <<(atom_to_binary(Name))/binary, "-", Short/binary, "-">>.

%% @doc What native code of a build must fit.
-spec architecture() -> binary().
architecture() ->
    Bits = 8 * erlang:system_info({wordsize, external}),
    iolist_to_binary([erlang:system_info(system_architecture), $/, integer_to_list(Bits)]).

%% @doc What of the configuration changes what is built. The values of the variables that a build gets
%% to see are not part of it: they may be secrets.
-spec options() -> binary().
options() ->
    Variables = lists:usort(bc_gitops_build_config:passed_variables()),
    iolist_to_binary(io_lib:format("~0tp", [{?OPTIONS, Variables}])).

%% @doc A source as it was written, in a digest and without a user.
-spec source_id(#source_spec{}) -> binary().
source_id(#source_spec{type = Type, url = Url, sha256 = Sum, ref = Ref, mcid = Mcid}) ->
    What = {Type, bc_gitops_config:public_url(Url), Sum, Ref, Mcid},
    hex(bc_gitops_native:digest_bytes(sha256, term_to_binary(What))).

%% @doc The build with this key.
-spec lookup(Workspace :: file:filename_all(), Key :: binary()) ->
    {ok, build()} | {error, not_found}.
lookup(Workspace, Key) ->
    case is_key(Key) andalso read(filename:join(path(Workspace, Key), "manifest")) of
        {ok, #{key := Key} = Build} -> {ok, absolute(Workspace, Build)};
        _ -> {error, not_found}
    end.

is_key(Key) ->
    re:run(Key, "\\A[a-z][a-zA-Z0-9_@.-]*\\z", [{capture, none}]) =:= match.

read(File) ->
    case file:read_file(File) of
        {ok, <<?MAGIC, Sum:32/binary, Body/binary>>} ->
            case bc_gitops_native:digest_bytes(sha256, Body) of
                Sum -> {ok, binary_to_term(Body)};
                _ -> {error, damaged}
            end;
        {ok, <<"%", _/binary>>} ->
            read_format_1(file:consult(File));
        _ ->
            {error, not_found}
    end.

read_format_1({ok, [#{format := 1, build := #{libs := Libs} = Build}]}) ->
    Unhexed = [Lib#{modules := maps:map(fun(_, MD5) -> unhex(MD5) end, Modules)}
               || #{modules := Modules} = Lib <- Libs],
    {ok, Build#{libs := Unhexed, arch => architecture(), options => options()}};
read_format_1(_) ->
    {error, damaged}.

%% @doc All builds of a revision, whatever built them.
-spec find(Workspace :: file:filename_all(), atom(), Revision :: binary()) -> [build()].
find(Workspace, Name, Revision) ->
    Keys = [Key || Key <- keys(Workspace), is_prefix(prefix(Name, Revision), Key)],
    [Build || #{revision := R} = Build <- builds(Workspace, Keys), R =:= Revision].

%% @doc The builds that exactly this source gave, the one asked for last first.
-spec built_from(Workspace :: file:filename_all(), atom(), #source_spec{}) -> [build()].
built_from(Workspace, Name, Source) ->
    Id = source_id(Source),
    Builds = [{touched(Workspace, Key), Build}
              || #{key := Key} = Build <- builds(Workspace, keys(Workspace, Name)),
                 is_from(Id, Workspace, Build)],
    [Build || {_, Build} <- lists:reverse(lists:keysort(1, Builds))].

is_from(Id, _Workspace, #{source := Id}) -> true;
is_from(Id, Workspace, #{key := Key}) -> lists:member(Id, other_sources(Workspace, Key)).

%% @doc Another source meant the same revision: a tag beside a branch, for example.
-spec note_source(Workspace :: file:filename_all(), build(), #source_spec{}) -> ok.
note_source(Workspace, #{key := Key} = Build, Source) ->
    Id = source_id(Source),
    case is_from(Id, Workspace, Build) of
        true -> ok;
        false ->
            %% Without it the build is found as long as its source answers.
            _ = file:write_file(sources(Workspace, Key), [Id, $\n], [append]),
            ok
    end.

%% Beside `lib': not one of the files that are compared.
sources(Workspace, Key) ->
    filename:join(path(Workspace, Key), "sources").

other_sources(Workspace, Key) ->
    case file:read_file(sources(Workspace, Key)) of
        {ok, Text} -> binary:split(Text, <<"\n">>, [global, trim_all]);
        {error, _} -> []
    end.

builds(Workspace, Keys) ->
    [Build || Key <- Keys, {ok, Build} <- [lookup(Workspace, Key)]].

%% @doc Seals a finished tree and moves it into the store. A build that is there already stays.
-spec publish(Workspace, Tree, Key :: binary(), build()) ->
    {ok, build()} | {error, {Kind :: atom(), map()}}
    when Workspace :: file:filename_all(), Tree :: file:filename_all().
publish(Workspace, Tree, Key, Build) ->
    Whole = maps:merge(#{arch => architecture(), options => options()}, Build),
    case write(Workspace, Tree, Whole) of
        {ok, Sealed} -> moved_in(move_in(Tree, Workspace, Key), Workspace, Key, Sealed);
        {error, _} = Error -> Error
    end.

%% @doc Lists the files of a build that stands in the store, and writes its manifest anew.
-spec seal(Workspace :: file:filename_all(), build()) ->
    {ok, build()} | {error, {Kind :: atom(), map()}}.
seal(Workspace, #{key := Key} = Build) ->
    write(Workspace, path(Workspace, Key), Build).

write(Workspace, Tree, Build) ->
    case bc_gitops_native:store_seal(unicode:characters_to_binary(Tree)) of
        {ok, #{files := Files, bytes := Size}} ->
            Sealed = Build#{files => Files, size => Size},
            Body = term_to_binary(relative(Workspace, Sealed)),
            Sum = bc_gitops_native:digest_bytes(sha256, Body),
            Manifest = filename:join(Tree, "manifest"),
            case bc_gitops_tree:write_atomically(Manifest, [?MAGIC, Sum, Body]) of
                ok -> {ok, Sealed};
                {error, _} = Error -> Error
            end;
        {error, _} = Error ->
            Error
    end.

moved_in(ok, Workspace, _Key, Build) ->
    case bc_gitops_tree:sync_directory(path(Workspace, <<>>)) of
        ok -> {ok, Build};
        {error, _} = Error -> Error
    end;
moved_in(stays, Workspace, Key, _Build) ->
    lookup(Workspace, Key);
moved_in({error, {unwritable, _}} = Error, _Workspace, _Key, _Build) ->
    Error;
moved_in({error, Reason}, Workspace, Key, _Build) ->
    {error, {unwritable, #{path => path(Workspace, Key), reason => Reason}}}.

%% Who was faster has the same; what was damaged since makes room.
move_in(Tree, Workspace, Key) ->
    _ = filelib:ensure_path(path(Workspace, <<>>)),
    case file:rename(Tree, path(Workspace, Key)) of
        {error, Reason} when Reason =:= eexist; Reason =:= enotempty ->
            case is_whole(lookup(Workspace, Key), path(Workspace, Key)) of
                true -> stays;
                false -> replace(Tree, Workspace, Key)
            end;
        Result ->
            Result
    end.

is_whole({ok, #{files := Files}}, Dir) ->
    element(1, bc_gitops_native:store_check(Dir, Files)) =:= ok;
is_whole(_, _Dir) ->
    false.

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
    _ = bc_gitops_tree:remove(Target),
    _ = filelib:ensure_path(Trash),
    case file:rename(path(Workspace, Key), Target) of
        ok -> bc_gitops_tree:remove(Target);
        {error, _} -> delete_in_place(path(Workspace, Key))
    end.

%% A full disk may have no room for another name. Without its manifest it is no build any more.
delete_in_place(Dir) ->
    _ = file:delete(filename:join(Dir, "manifest")),
    bc_gitops_tree:remove(Dir).

%% @doc Notes that a build was asked for now; the ones asked for longest ago go first.
-spec touch(Workspace :: file:filename_all(), Key :: binary()) -> ok.
touch(Workspace, Key) ->
    %% On a disk that cannot be written nothing will be removed either.
    _ = file:change_time(filename:join(path(Workspace, Key), "manifest"), calendar:local_time()),
    ok.

%% @doc When a build was last asked for.
-spec touched(Workspace :: file:filename_all(), Key :: binary()) -> calendar:datetime().
touched(Workspace, Key) ->
    case file:read_file_info(filename:join(path(Workspace, Key), "manifest")) of
        {ok, #file_info{mtime = Time}} -> Time;
        {error, _} -> {{1970, 1, 1}, {0, 0, 0}}
    end.

%% @doc The bytes of a build's files, and the keys that it needs.
-spec known(Workspace :: file:filename_all(), Key :: binary()) ->
    {Size :: non_neg_integer(), Needs :: [binary()]}.
known(Workspace, Key) ->
    case lookup(Workspace, Key) of
        {ok, #{size := Size, needs := Needs}} -> {Size, Needs};
        {ok, #{needs := Needs}} -> {size_on_disk(Workspace, Key), Needs};
        {error, not_found} -> {size_on_disk(Workspace, Key), []}
    end.

size_on_disk(Workspace, Key) ->
    Dir = unicode:characters_to_list(path(Workspace, Key)),
    filelib:fold_files(Dir, "", true, fun(File, Sum) -> filelib:file_size(File) + Sum end, 0).

%% @doc Where a build is; with the key `<<>>' the store itself.
-spec path(Workspace :: file:filename_all(), Key :: binary()) -> binary().
path(Workspace, Key) ->
    unicode:characters_to_binary(filename:join([Workspace, "store", Key])).

%% On disk paths begin at the store: a workspace that was moved is the same.
relative(Workspace, #{path := Path, libs := Libs} = Build) ->
    Root = path(Workspace, <<>>),
    Cut = fun(Absolute) -> string:prefix(Absolute, <<Root/binary, "/">>) end,
    Build#{path := Cut(Path), libs := [paths(Cut, Lib) || Lib <- Libs]}.

absolute(Workspace, #{path := Path, libs := Libs} = Build) ->
    Root = path(Workspace, <<>>),
    Join = fun(Relative) -> filename:join(Root, Relative) end,
    Build#{path := Join(Path), libs := [paths(Join, Lib) || Lib <- Libs]}.

paths(Fun, Lib) ->
    maps:map(fun(Key, Path) when Key =:= path; Key =:= consolidated -> Fun(Path);
                (_, Value) -> Value
             end, Lib).

hex(Bytes) ->
    << <<(string:lowercase(integer_to_binary(N, 16)))/binary>> || <<N:4>> <= Bytes >>.

unhex(Hex) ->
    <<(binary_to_integer(Hex, 16)):128>>.
