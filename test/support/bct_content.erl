%%% @doc Content for tests: archives, trees and stores, and a stand-in for the module macula_content.
-module(bct_content).

-include("bc_gitops.hrl").

-export([archive/2, tree/2, store/2, raw/1, mcid/2, put/3, source/1]).
-export([with_macula/3]).

%% @doc A tar.gz of files `[{Path, Content}]', as bytes.
archive(Dir, Files) ->
    Unique = integer_to_list(erlang:unique_integer([positive])),
    File = filename:join(Dir, "content-" ++ Unique ++ ".tar.gz"),
    Entries = [{unicode:characters_to_list(Path), iolist_to_binary(Content)}
               || {Path, Content} <- Files],
    ok = erl_tar:create(unicode:characters_to_list(File), Entries, [compressed]),
    {ok, Bytes} = file:read_file(File),
    ok = file:delete(File),
    Bytes.

%% @doc A directory of files.
tree(Dir, Files) ->
    lists:foreach(fun({Path, Content}) ->
        File = filename:join(Dir, Path),
        ok = filelib:ensure_dir(File),
        ok = file:write_file(File, Content)
    end, Files),
    Dir.

%% @doc An empty directory for a store.
store(Dir, Name) ->
    Store = filename:join(Dir, Name),
    ok = filelib:ensure_path(Store),
    Store.

%% @doc The content id of bytes.
raw(Bytes) -> mcid(raw, Bytes).

mcid(Kind, Bytes) ->
    Hex = string:lowercase(binary:encode_hex(bc_gitops_native:digest_bytes(blake3, Bytes))),
    iolist_to_binary(["mcid1-", atom_to_list(Kind), "-blake3-", Hex]).

%% @doc Puts bytes into a store under a content id, whether they are its or not.
put(Store, Mcid, Bytes) ->
    ok = file:write_file(filename:join(Store, Mcid), Bytes).

source(Mcid) ->
    #source_spec{type = mesh, mcid = Mcid}.

%% @doc Runs Fun while the code path has a module macula_content, whose fetch/1 has this body.
with_macula(Dir, Body, Fun) ->
    Ebin = filename:join(Dir, "macula-ebin"),
    ok = filelib:ensure_path(Ebin),
    Source = filename:join(Dir, "macula_content.erl"),
    ok = file:write_file(Source, [
        "%% Stands in for macula's module in a test.\n-module(macula_content).\n"
        "-export([mcid_from_string/1, fetch/1]).\n"
        "mcid_from_string(<<\"mcid1-\", _/binary>> = Text) -> {ok, {stand_in, Text}};\n"
        "mcid_from_string(_) -> {error, invalid_mcid}.\n"
        "fetch({stand_in, Mcid}) -> _ = Mcid, ", Body, ".\n"]),
    {ok, macula_content} = compile:file(unicode:characters_to_list(Source),
                                        [{outdir, unicode:characters_to_list(Ebin)}, return_errors]),
    true = code:add_pathz(unicode:characters_to_list(Ebin)),
    try Fun()
    after
        true = code:del_path(unicode:characters_to_list(Ebin)),
        _ = code:purge(macula_content),
        _ = code:delete(macula_content),
        _ = code:purge(macula_content)
    end.
